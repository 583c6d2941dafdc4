"""Pre-training the proxy model: the tokens it draws, and that kills and companions change nothing."""

import functools
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from sweep_example import corpus as make_corpus
from sweep_example import read
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from qurating.models import networks
from qurating.models.language_model import LanguageModel
from qurating.runtime.errors import StageError
from qurating.stages.lqs import pretrain_proxy as stage
from qurating.stages.lqs.pretrain_proxy import pretrain_proxy

SETTINGS: dict[str, Any] = {
    "num_tokens": 2000,
    "network": functools.partial(
        networks.language_model,
        "llama",
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    ),
    "optimizer": functools.partial(torch.optim.AdamW, lr=1e-2),
    "schedule": get_linear_schedule_with_warmup,
    "trainer": functools.partial(
        pl.Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1
    ),
    "warmup_fraction": 0.0,
    "gradient_clip_norm": 1.0,
    "sequence_length": 64,
    "batch_size_sequences": 8,
    "micro_batch_size": 8,
    "checkpoint_every_steps": 1,
    "seed": 7,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A proxy model that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole")
    pretrain(corpus, output)
    return output


def pretrain(corpus: Path, output: Path, **changes: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    return pretrain_proxy(output=output, corpus=corpus, **SETTINGS | changes)


def without_training(monkeypatch: pytest.MonkeyPatch, prepare: Callable[..., Any]) -> None:
    """Let the stage do all but train; `prepare` sees the tokens that it would train on."""
    monkeypatch.setattr(stage, "prepare", prepare)
    monkeypatch.setattr(stage, "fit", lambda *_, **__: None)
    monkeypatch.setattr(stage, "save", lambda *_: {})
    monkeypatch.setattr(stage, "clear", lambda *_: None)


def weights(folder: Path) -> torch.Tensor:
    network = AutoModelForCausalLM.from_pretrained(folder)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_it_is_a_folder_that_loads_and_has_learned(corpus: Path, tmp_path: Path) -> None:
    counts = pretrain(corpus, tmp_path / "lm", num_tokens=6000)
    assert sorted(file.name for file in (tmp_path / "lm").iterdir() if file.is_dir()) == []
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "lm").get_vocab()
        == AutoTokenizer.from_pretrained(corpus / "tokenizer").get_vocab()
    )
    # up to the end of the sequence that crosses each domain's budget
    assert 6000 <= counts["tokens"] < 6000 + 6 * 64
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    ids = torch.tensor([row for row in read(corpus, "heldout")["input_ids"].to_pylist() if len(row) == 64])
    with torch.no_grad():
        loss = float(network(input_ids=ids, labels=ids).loss)
    assert loss < np.log(600) - 0.3


def test_the_tokens_are_whole_sequences_that_the_seed_draws(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, set[tuple[int, ...]]] = {}

    def noted(*, order: Path, seed: int, **_: Any) -> tuple[None, None]:
        stream, rows = np.load(order / "tokens.npy"), pq.read_table(order / "order.parquet").to_pylist()
        pieces = [stream[row["offset"] : row["offset"] + row["length"]] for row in rows]
        seen[len(seen)] = {tuple(piece.tolist()) for piece in pieces}
        assert [row["offset"] for row in rows] == [0, *np.cumsum([len(piece) for piece in pieces])[:-1].tolist()]
        return None, None

    without_training(monkeypatch, noted)
    for number, seed in enumerate((7, 7, 8)):
        pretrain(corpus, tmp_path / str(number), seed=seed)
    assert seen[0] == seen[1] != seen[2]
    assert seen[0] < {tuple(ids) for ids in read(corpus)["input_ids"].to_pylist()}


def test_a_kill_while_the_tokens_are_laid_down(
    corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, *_: Any) -> None:
        (folder / "tokens.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_in_order", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, tmp_path)
    pretrain(corpus, tmp_path)
    assert torch.equal(weights(tmp_path), weights(whole))


def test_a_kill_in_the_training_goes_on_from_its_checkpoint(
    corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, steps = LanguageModel.training_step, list[int]()

    def step(self: LanguageModel, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        steps.append(self.trainer.global_step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModel, "training_step", step)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        pretrain(corpus, tmp_path)
    monkeypatch.setattr(stage, "write_in_order", None)  # the tokens are not laid down again
    pretrain(corpus, tmp_path)
    assert steps == [0, 1, 2, 2, 3, 4]
    assert torch.equal(weights(tmp_path), weights(whole))
    assert (tmp_path / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_kill_while_the_tokens_are_thrown_away(
    corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shutil.rmtree

    def killed(path: Path, *given: Any, **named: Any) -> None:
        if Path(path).name == "half_drawn" and (path / "order/tokens.npy").exists():
            (path / "order/tokens.npy").unlink()
            raise KeyboardInterrupt
        plain(path, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, tmp_path)
    pretrain(corpus, tmp_path)
    assert torch.equal(weights(tmp_path), weights(whole))
    assert not list(tmp_path.glob("*drawn*"))


def test_another_process_waits_for_the_tokens_and_writes_none(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a distributed run; the training itself is left out."""
    trained: list[Path] = []

    def noted(*, order: Path, **_: Any) -> tuple[None, None]:
        trained.append(order)
        return None, None

    without_training(monkeypatch, noted)
    monkeypatch.setattr(stage, "rank", lambda: 1)
    monkeypatch.setattr(stage, "select_rows", None)
    monkeypatch.setattr(stage, "write_in_order", None)
    waiting = threading.Thread(target=pretrain, args=(corpus, tmp_path), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert not trained
    assert not list(tmp_path.iterdir())
    (tmp_path / "made elsewhere/order").mkdir(parents=True)
    os.rename(tmp_path / "made elsewhere", tmp_path / "drawn")
    waiting.join(600)
    assert trained == [tmp_path / "drawn/order"]
    assert (tmp_path / "drawn").exists()  # the first process throws it away


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("num_tokens", "message"),
    [(None, "pretrain_tokens is not set"), (0, "a whole number from 1"), (10**9, r"1 to the [\d,]+ tokens of corpus")],
)
def test_an_impossible_budget_is_refused_by_every_process(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, num_tokens: int | None, message: str
) -> None:
    monkeypatch.setattr(stage, "rank", lambda: rank)
    with pytest.raises(StageError, match=message):
        pretrain(corpus, tmp_path, num_tokens=num_tokens)
