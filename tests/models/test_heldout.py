"""Losses of held-out sequences, against one plain forward pass for each."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qurating.models import networks
from qurating.models.heldout import sequence_nll

EOS = 3


def test_shares_add_up_to_the_bit() -> None:
    torch.manual_seed(0)
    network = networks.language_model(
        "llama", vocabulary_size=40, eos_token_id=EOS, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
    ).eval()  # fmt: skip
    starts = np.cumsum([0, 5, 0, 12, 1, 7, 12])
    tokens = np.random.default_rng(0).integers(0, 40, int(starts[-1])).astype(np.int32)
    whole = sequence_nll(network, tokens, starts, EOS, 2, "32-true")
    shares = [sequence_nll(network, tokens, starts, EOS, 2, "32-true", share=n, num_shares=4) for n in range(4)]
    assert np.array_equal(sum(shares), whole)
    assert np.array_equal(sum((share != 0).astype(int) for share in shares), (whole != 0).astype(int))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_each_sequence_is_read_after_one_end_of_text(batch_size: int) -> None:
    torch.manual_seed(0)
    network = networks.language_model(
        "llama", vocabulary_size=40, eos_token_id=EOS, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
    ).eval()  # fmt: skip
    draw = np.random.default_rng(0)
    lengths = [5, 0, 12, 1, 7]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = draw.integers(0, 40, sum(lengths)).astype(np.int32)
    found = sequence_nll(network, tokens, starts, EOS, batch_size, "32-true")
    for place, (start, end) in enumerate(itertools.pairwise(starts)):
        own = torch.tensor([EOS, *tokens[start:end].tolist()])
        with torch.no_grad():
            logits = network(input_ids=own[None, :-1]).logits[0] if len(own) > 1 else torch.zeros(0, 40)
        expected = float(F.cross_entropy(logits.double(), own[1:], reduction="sum"))
        assert found[place] == pytest.approx(expected, rel=1e-5)
