"""Losses of held-out sequences, against one plain forward pass for each."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qurating.evaluation.heldout import sequence_nll
from qurating.models import networks

EOS = 3


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
