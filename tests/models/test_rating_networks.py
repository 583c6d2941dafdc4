"""Networks that rate: which short cuts are taken, and which networks are refused."""

import pytest
import torch
from rating_example import classifier
from transformers import AutoConfig, AutoModelForSequenceClassification

from qurating.models import rating_networks
from qurating.models.rating_networks import LastTokenRater, rating_network
from qurating.runtime.errors import StageError

XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 1500}  # reads what is on the far right


def test_a_wrong_short_cut_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_networks, "_rotated", lambda x, cos, sin: x)
    assert type(rating_network(classifier(), 40)) is LastTokenRater


def test_a_network_that_padding_changes_is_refused() -> None:
    config = AutoConfig.for_model("xlnet", **XLNET, num_labels=3, pad_token_id=0)
    torch.manual_seed(1)
    with pytest.raises(StageError, match="xlnet gives another result for a text when padding follows"):
        rating_network(AutoModelForSequenceClassification.from_config(config), 40)
