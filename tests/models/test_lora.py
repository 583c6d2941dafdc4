"""Raters that learn by LoRA."""

import functools
import sys
from pathlib import Path

import pytest
import torch
from rater_fixtures import CRITERIA, judgments_of, network, rated_corpus, train
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from qurating.models import lora


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


def test_lora_learns_and_leaves_a_plain_network(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft, an optional extra: pip install -e '.[lora]'")
    adapter = functools.partial(lora.adapted, r=2, lora_alpha=4)
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    adapted = adapter(network(0.0)(tokenizer=tokenizer, criteria=CRITERIA))
    learns = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "score" in name for name in learns)
    assert any("score" in name for name in learns)
    train(corpus, judgments, tmp_path / "one", lora=adapter, network=network(0.0), num_epochs=2)
    plain, loading = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not any("lora" in name for name in plain.state_dict())
    assert not any("adapter" in file.name for file in (tmp_path / "one").iterdir())
    with pytest.raises(ValueError, match=r"rater\.lora: .*rank"):
        lora.adapted(network(0.0)(tokenizer=tokenizer, criteria=CRITERIA), rank=3)


def test_lora_without_peft_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[lora\]'"):
        lora.adapted(torch.nn.Linear(1, 1))
