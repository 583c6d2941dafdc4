"""Networks from a configuration, and those that cannot be used."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from gaps_example import tokenizer_with_gaps
from rater_fixtures import judgments_of, rated_corpus, train
from training_example import a_model
from transformers import AutoTokenizer

from qurating.models import networks
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


def test_texts_beyond_the_positions_of_a_network_are_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    few = functools.partial(networks.rater, "gpt2", n_embd=16, n_layer=1, n_head=2, n_positions=100)
    with pytest.raises(StageError, match=r"it reads 1 to 100 tokens, but a text may have 512 \(rater.max_tokens"):
        train(corpus, judgments, tmp_path / "a", network=few)


def test_a_network_that_padding_changes_is_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    right = functools.partial(networks.rater, "xlnet", d_model=16, n_layer=1, n_head=2, d_inner=16)
    with pytest.raises(StageError, match="xlnet gives another result for a text when padding follows it"):
        train(corpus, judgments, tmp_path / "a", network=right)


def test_the_end_of_text_is_learned() -> None:
    embedding = a_model().network.get_input_embeddings()
    assert embedding.padding_idx is None
    assert embedding.weight[0].abs().sum() > 0


def test_an_unknown_setting_of_the_network_is_refused() -> None:
    settings: dict[str, Any] = {"hiden_size": 3}
    with pytest.raises(ValueError, match="hiden_size"):
        networks.language_model("llama", vocabulary_size=8, eos_token_id=0, **settings)


@pytest.mark.parametrize("make", [networks.rater, networks.encoder])
def test_a_network_has_an_embedding_for_every_id(tmp_path: Path, make: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_with_gaps(tmp_path, highest=299))
    more = {"criteria": ["c"]} if make is networks.rater else {}
    made = make("gpt2", tokenizer=tokenizer, n_embd=16, n_layer=1, n_head=2, **more)
    network = made if make is networks.rater else made[0]
    assert network(input_ids=torch.tensor([tokenizer("w1 far")["input_ids"]]))[0].isfinite().all()


@pytest.mark.parametrize(
    "make", [networks.pretrained_rater, networks.pretrained_encoder, networks.pretrained_language_model]
)
def test_a_network_with_fewer_embeddings_than_ids_is_refused(tmp_path: Path, make: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_with_gaps(tmp_path / "words", highest=299))
    tokenizer.save_pretrained(tmp_path / "lm")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    more: dict[str, Any] = {"criteria": ["c"]} if make is networks.pretrained_rater else {}
    for rows, is_refused in ((299, True), (300, False), (512, False)):  # more than needed: a padded vocabulary
        network = networks.language_model("gpt2", vocabulary_size=rows, eos_token_id=255, **sizes)
        network.save_pretrained(tmp_path / "lm")
        if is_refused:
            with pytest.raises(StageError, match=r"lm: the ids of its tokenizer end at 299, .* has 299 embeddings"):
                make(str(tmp_path / "lm"), tokenizer=tokenizer, **more)
        else:
            make(str(tmp_path / "lm"), tokenizer=tokenizer, **more)


def test_a_model_to_continue_has_the_tokenizer_of_the_corpus_and_a_head(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_with_gaps(tmp_path / "words", highest=299))
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "tie_word_embeddings": False}
    network = networks.language_model("gpt2", vocabulary_size=300, eos_token_id=1, **sizes)
    network.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    found = networks.pretrained_language_model(str(tmp_path / "lm"), tokenizer=tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), network.parameters(), strict=True))
    assert found.config.eos_token_id == tokenizer.eos_token_id != network.config.eos_token_id
    network.base_model.save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match=r"lm is not a causal language model: its weights lack lm_head\.weight"):
        networks.pretrained_language_model(str(tmp_path / "lm"), tokenizer=tokenizer)
    AutoTokenizer.from_pretrained(tokenizer_with_gaps(tmp_path / "far", highest=298)).save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match=r"was trained with another tokenizer \(1 tokens differ, such as 'far'\)"):
        networks.pretrained_language_model(str(tmp_path / "lm"), tokenizer=tokenizer)
