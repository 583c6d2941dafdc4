"""Networks of scorers: what they can read, and what is refused as none."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scorer_fixtures import annotation_of, corpus_of_paragraphs, train
from transformers import AutoModel

from qurating.models.scorer_networks import ScorerNetwork, load_scorer
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import Commit


def test_roberta_counts_its_positions_from_its_padding_token() -> None:
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=90, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    made = ScorerNetwork(RobertaModel(config)).eval()
    limit = made.max_tokens()
    assert limit == 18
    made(torch.full((1, 18), 5), torch.ones(1, 18, dtype=torch.int64))
    with pytest.raises((IndexError, RuntimeError)):
        made(torch.full((1, 19), 5), torch.ones(1, 19, dtype=torch.int64))
    # the pooler takes no part
    assert {name for name, p in made.named_parameters() if not p.requires_grad} == {
        "encoder.pooler.dense.weight",
        "encoder.pooler.dense.bias",
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def scorer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    annotation = annotation_of(corpus, folder / "annotation")
    train(corpus, annotation, folder / "s", num_epochs=1)
    return folder / "s"


def test_what_is_no_scorer_is_refused(scorer: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"it lacks scorer.json.* A scorer has .* head.safetensors"):
        broken(scorer, tmp_path / "a", remove="scorer.json")
    with pytest.raises(StageError, match=r"it lacks model.safetensors"):
        broken(scorer, tmp_path / "b", remove="model.safetensors")
    with pytest.raises(StageError, match=r"it lacks config.json, model.safetensors, .*head.safetensors, scorer.json"):
        load_scorer(corpus / "tokenizer")
    with pytest.raises(StageError, match=r"cannot be loaded as a scorer: \S+scorer.json is damaged: it is not JSON"):
        broken(scorer, tmp_path / "c", write={"scorer.json": b'{"max_tok'})
    with pytest.raises(StageError, match=r"pooling 'last'"):
        broken(scorer, tmp_path / "d", write={"scorer.json": b'{"max_tokens": 5, "pooling": "last"}'})
    with pytest.raises(StageError, match=r"cannot be loaded as a scorer: SafetensorError"):
        broken(scorer, tmp_path / "e", write={"head.safetensors": b"no tensors"})
    weights = load_file(scorer / "model.safetensors")
    lost = sorted(weights)[3]
    save_file({name: weight for name, weight in weights.items() if name != lost}, tmp_path / "cut")
    with pytest.raises(StageError, match=f"its weights lack {lost}"):
        broken(scorer, tmp_path / "f", write={"model.safetensors": (tmp_path / "cut").read_bytes()})
    # a file of weights that could hold code is not looked at
    (tmp_path / "g").mkdir()
    with pytest.raises(StageError, match=r"it lacks model.safetensors"):
        broken(scorer, tmp_path / "g", remove="model.safetensors", write={"pytorch_model.bin": b"cos\nsystem\n"})


def broken(scorer: Path, folder: Path, remove: str = "", write: dict[str, bytes] | None = None) -> None:
    shutil.copytree(scorer, folder, dirs_exist_ok=True)
    if remove:
        (folder / remove).unlink()
    for name, content in (write or {}).items():
        (folder / name).write_bytes(content)
    load_scorer(folder)


def test_a_scorer_of_the_hub_is_fetched_without_code(
    scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **arguments: Any) -> str:
        asked.update(arguments, name=name)
        if name.endswith("gone"):
            raise OSError("no space left")
        return str(scorer)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("qurating.runtime.revisions.commit", lambda *asked: Commit("c" * 40))
    monkeypatch.setattr("qurating.runtime.hub.check_access", lambda models, datasets: asked.update(checked=models))
    loaded = load_scorer("someone/a-scorer")
    assert asked["checked"] == ["someone/a-scorer"] == [asked["name"]]
    assert asked["revision"] == "c" * 40
    assert not any("py" in pattern or "bin" in pattern or pattern == "*" for pattern in asked["allow_patterns"])
    assert not loaded.network.training
    with pytest.raises(StageError, match="someone/gone cannot be fetched from the Hub: OSError: no space left"):
        load_scorer("someone/gone")


def test_a_folder_that_is_not_there_is_not_asked_for_at_the_hub(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such model \(looked in"):
        load_scorer(tmp_path / "none")


def test_a_scorer_with_too_few_embeddings_is_refused(scorer: Path, tmp_path: Path) -> None:
    shutil.copytree(scorer, tmp_path / "s")
    encoder = AutoModel.from_pretrained(scorer)
    rows = encoder.get_input_embeddings().num_embeddings - 1
    encoder.resize_token_embeddings(rows)
    encoder.save_pretrained(tmp_path / "s")
    with pytest.raises(StageError, match=rf"s: the ids of its tokenizer end at .* has {rows:,} embeddings"):
        load_scorer(tmp_path / "s")
