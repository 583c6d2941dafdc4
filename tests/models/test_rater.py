"""The rater's scores of a text are the same alone and padded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rater_fixtures import CRITERIA, PAIRS, judgments_of, rated_corpus
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from qurating.datamodules.judgments import Judgments
from qurating.metrics import bradley_terry
from qurating.models import networks
from qurating.models.optimization import Optimization
from qurating.models.rater import Rater


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


def test_padding_does_not_reach_the_ratings(corpus: Path, judgments: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, **PAIRS)
    tiny = networks.rater(
        "llama",
        tokenizer=tokenizer,
        criteria=CRITERIA,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    ).eval()
    module = Rater(tiny, CRITERIA, Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1), 0)
    together = torch.stack(module.scores(data.batch(np.arange(6))), dim=1)
    for pair in range(6):
        for text in range(2):
            alone = tiny(input_ids=torch.tensor([data.texts[2 * pair + text]])).logits[0]
            assert torch.allclose(together[pair, text], alone, atol=1e-5)


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 600}),
        ("qwen2", SMALL | {"num_key_value_heads": 1}),
        ("bert", SMALL),
        ("modernbert", SMALL),
        ("distilbert", {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}),
    ],
)
def test_any_backbone_rates_a_text_the_same_alone_and_padded(
    corpus: Path, judgments: Path, model_type: str, settings: dict[str, Any]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, **PAIRS)
    made = networks.rater(model_type, tokenizer=tokenizer, criteria=CRITERIA, **settings)
    module = Rater(made, CRITERIA, Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1), 0)
    pairs = data.training[:4]
    bradley_terry.loss(*module.scores(data.batch(pairs)), data.preference[pairs]).backward()
    assert all(p.grad is not None for p in module.parameters())  # several devices wait for every gradient
    module.eval()
    together = torch.stack(module.scores(data.batch(pairs)), dim=1)
    for pair, scores in zip(pairs, together, strict=True):
        alone = torch.cat(module.scores(data.batch(np.array([pair]))))
        assert torch.allclose(scores, alone, atol=1e-5)
