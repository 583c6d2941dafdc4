"""The scorer: what it learns, and that an interruption leaves no trace."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scorer_fixtures import MAX_TOKENS, annotation_of, corpus_of_paragraphs, network, rows, scores_of, train
from slow_ranks import slow_spearman
from transformers import AutoModel, PreTrainedTokenizerFast, T5Config, T5Model

from qurating.analysis.preferences import SCORER, held_out
from qurating.artifacts.files import write_json
from qurating.corpus.token_reader import TokenReader
from qurating.corpus.tokenizing import train_bpe
from qurating.datamodules.scores import Scores
from qurating.models import networks
from qurating.models.optimization import Optimization
from qurating.models.scorer import Scorer
from qurating.models.scorer_networks import load_scorer
from qurating.runtime.errors import StageError
from qurating.stages.lqs import train_scorer as module


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def annotation(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotation_of(corpus, tmp_path_factory.mktemp("annotation") / "a")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_it_learns_and_writes_what_it_promises(corpus: Path, annotation: Path, tmp_path: Path) -> None:
    counts = train(corpus, annotation, tmp_path / "s", num_epochs=5)
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == [
        "config.json",
        "head.safetensors",
        "metrics.csv",
        "model.safetensors",
        "predicted_vs_annotated.png",
        "scorer.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "validation.json",
    ]
    report = json.loads((tmp_path / "s/validation.json").read_text(encoding="utf-8"))
    assert (counts["training_sequences"], counts["validation_sequences"]) == (176, 44)
    assert counts["spearman"] == report["spearman"] > 0.5
    assert report["mse"] < 0.9 * report["mse_of_the_mean"]
    # what is written, read by other means: the best step's figures, to the precision of a batch
    metrics = (tmp_path / "s/metrics.csv").read_text(encoding="utf-8").splitlines()
    column = metrics[0].split(",").index("validation/spearman")
    assert max(float(line.split(",")[column] or -1) for line in metrics[1:]) == pytest.approx(
        report["spearman"], abs=1e-3
    )
    loaded = load_scorer(tmp_path / "s")
    assert AutoModel.from_pretrained(tmp_path / "s").num_parameters() == loaded.network.encoder.num_parameters()
    raw = pq.read_table(annotation / "annotation.parquet")["lqs"].to_numpy()
    assert loaded.settings["label_mean"] == pytest.approx(raw.mean(), rel=0.2)
    module = Scorer(loaded.network.eval(), 3.0, Optimization(torch.optim.AdamW, lambda *_: None, 0.0), 0)
    assert loaded.settings["max_tokens"] == MAX_TOKENS
    index = np.arange(220)
    data = scores_of(corpus, annotation, tokenizer=loaded.tokenizer)
    with torch.inference_mode():
        predicted = module(data.batch(index)).numpy()
    assert slow_spearman(predicted, raw) > 0.6


@pytest.fixture(scope="module")
def whole(corpus: Path, annotation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    train(corpus, annotation, folder, network=network(dropout=0.1))
    return folder


# 6 steps an epoch, 2 passes a step: before the first state, right after a validation, at the very end
@pytest.mark.parametrize("passes", [1, 12, 23])
def test_an_interrupted_training_ends_the_same(
    corpus: Path, annotation: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    def fails(self: Scorer, batch: Any, batch_idx: int) -> Any:
        if batch_idx == passes:
            raise RuntimeError("pulled the plug")
        return original(self, batch, batch_idx)

    original = Scorer.training_step
    with monkeypatch.context() as patched:
        patched.setattr(Scorer, "training_step", fails)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            train(corpus, annotation, tmp_path / "cut", network=network(dropout=0.1))
    train(corpus, annotation, tmp_path / "cut", network=network(dropout=0.1))
    assert files(tmp_path / "cut") == files(whole)


def test_a_pretrained_encoder_reads_texts_with_its_own_tokenizer(
    corpus: Path, annotation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = rows(corpus)["text"].to_pylist()
    train_bpe(texts[:80], 400, tmp_path / "bert")
    own = PreTrainedTokenizerFast.from_pretrained(tmp_path / "bert")
    network("bert")(tokenizer=own)[0].save_pretrained(tmp_path / "bert")
    pretrained = functools.partial(networks.pretrained_encoder, str(tmp_path / "bert"))
    reader = TokenReader(corpus, pretrained(tokenizer=None)[1])
    made = reader(rows(corpus).slice(0, 30))
    assert [own.decode(ids.tolist()) for ids in made] == texts[:30]
    nothing = pa.table({"text": ["", "<|endoftext|>"]})
    assert reader(nothing)[0].tolist() == [own.pad_token_id]
    assert len(reader(nothing)[1]) > 1  # a text that spells a special token
    assert pretrained(tokenizer=None)[0].training is False
    was_training = []

    def watched(self: Scorer, batch: Any, batch_idx: int) -> Any:
        was_training.append(all(module.training for module in self.modules()))
        return original(self, batch, batch_idx)

    original = Scorer.training_step
    monkeypatch.setattr(Scorer, "training_step", watched)
    train(corpus, annotation, tmp_path / "s", network=pretrained, num_epochs=1)
    assert was_training
    assert all(was_training)
    assert load_scorer(tmp_path / "s").tokenizer.get_vocab() == own.get_vocab()


def test_an_analysis_knows_the_sequences_that_were_held_out(
    corpus: Path, annotation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scores] = []

    def fit(_: Scorer, data: Scores, *__: Any, **___: Any) -> None:
        seen.append(data)
        raise RuntimeError("not trained")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(RuntimeError, match="not trained"):
        train(corpus, annotation, tmp_path / "unused", seed=5)
    (data,) = seen
    number = len(data.labels)
    config = {"validation_fraction": len(data.validation) / number, "seed": 5}
    inputs = {"annotation": "annotations/a (0123456789abcdef)"}
    write_json(tmp_path / "models/m/manifest.json", {"inputs": inputs, "config": config})
    write_json(tmp_path / "scores/s/manifest.json", {"stage": "score", "inputs": {"scorer": "models/m (00)"}})
    own = {"name": "annotations/a", "fingerprint": "0123456789abcdef" * 4}
    write_json(tmp_path / "annotations/a/manifest.json", own)
    mask = held_out(tmp_path / "scores/s", tmp_path / "annotations/a", number, SCORER)
    assert mask is not None
    assert set(np.flatnonzero(mask)) == set(data.validation.tolist())
    assert 0 < mask.sum() < len(mask)


def changed(annotation: Path, folder: Path, lqs: Any = None, num_rows: int | None = None, **columns: Any) -> Path:
    folder.mkdir()
    table = pq.read_table(annotation / "annotation.parquet").slice(0, num_rows)
    replaced = columns | ({} if lqs is None else {"lqs": lqs})
    for name, values in replaced.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, folder / "annotation.parquet")
    return folder


def test_annotations_that_cannot_be_learned_are_refused(corpus: Path, annotation: Path, tmp_path: Path) -> None:
    table = pq.read_table(annotation / "annotation.parquet")
    scores, ids = table["lqs"].to_numpy().copy(), table["id"].to_pylist()
    few = changed(annotation, tmp_path / "few", num_rows=19)
    with pytest.raises(StageError, match=r"has 19 annotated sequences, .* at least 20"):
        train(corpus, few, tmp_path / "s")
    for constant in (0.0, 0.1):
        equal = changed(annotation, tmp_path / f"equal{constant}", np.full(len(scores), constant))
        with pytest.raises(StageError, match=f"scores to train on are {constant:g}: there is nothing to learn"):
            train(corpus, equal, tmp_path / "s")
    scores[7], scores[100] = np.nan, np.inf
    with pytest.raises(StageError, match=rf"2 of 220 sequences is not a number \(id {ids[7]}, {ids[100]}\)"):
        train(corpus, changed(annotation, tmp_path / "nan", scores), tmp_path / "s")
    with pytest.raises(StageError, match="another corpus"):
        train(corpus, changed(annotation, tmp_path / "other", id=ids[::-1]), tmp_path / "s")
    with pytest.raises(StageError, match=r"0 are for validation .* scorer.validation_fraction=0.001"):
        train(corpus, annotation, tmp_path / "s", validation_fraction=0.001)


CONVOLUTIONS: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "embedding_size": 32, "max_position_embeddings": 64, "initializer_range": 0.5,
}  # fmt: skip


def test_encoders_that_cannot_be_used_are_refused(corpus: Path, annotation: Path, tmp_path: Path) -> None:
    both = T5Model(T5Config(vocab_size=2000, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    for made, message in (
        (functools.partial(networks.pretrained_encoder, str(tmp_path / "none")), "encoder cannot be created"),
        (functools.partial(networks.encoder, "llama", hiden_size=3), "has no hiden_size"),
        (lambda tokenizer: (both, tokenizer), "t5 is both"),
        (
            functools.partial(networks.encoder, "convbert", **CONVOLUTIONS),
            "convbert gives another result for a text when padding",
        ),
    ):
        with pytest.raises(StageError, match=message):
            train(corpus, annotation, tmp_path / "s", network=made)
    with pytest.raises(StageError, match=r"scorer.max_tokens=65: the encoder reads 1 to 64 tokens"):
        train(corpus, annotation, tmp_path / "s", max_tokens=65)
    with pytest.raises(StageError, match="must be above 0"):
        train(corpus, annotation, tmp_path / "s", clip_standard_deviations=0)


def test_a_training_that_diverges_says_so(corpus: Path, annotation: Path, tmp_path: Path) -> None:
    optimizer = functools.partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(StageError, match=r"the scorer diverged: .* at step 3 of 6; .* Lower scorer.optimizer.lr"):
        train(corpus, annotation, tmp_path / "s", optimizer=optimizer, gradient_clip_norm=None, num_epochs=1)
