"""The scorer: its figures against their definitions, what it learns, and that an interruption leaves no trace."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scorer_fixtures import MAX_TOKENS, annotation_of, corpus_of_paragraphs, network, rows, train
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, T5Config, T5Model

from qurating.corpus.token_reader import TokenReader
from qurating.corpus.tokenizing import train_bpe
from qurating.corpus.windows import weighted_mean, windows
from qurating.datamodules.scores import Scores
from qurating.metrics import ranks, scorer
from qurating.models import networks
from qurating.models.optimization import Optimization
from qurating.models.scorer import Scorer
from qurating.models.scorer_networks import ScorerNetwork, load_scorer
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def annotation(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotation_of(corpus, tmp_path_factory.mktemp("annotation") / "a")


def scores_of(
    corpus: Path,
    annotation: Path,
    micro_batch_size: int = 16,
    batch_size: int = 32,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Scores:
    reader = TokenReader(corpus, tokenizer or AutoTokenizer.from_pretrained(corpus / "tokenizer"))
    return Scores(
        corpus,
        annotation,
        reader,
        max_tokens=MAX_TOKENS,
        batch_size_sequences=batch_size,
        micro_batch_size=micro_batch_size,
        num_epochs=2,
        validation_fraction=0.2,
        seed=1,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- figures


def slow_spearman(a: np.ndarray, b: np.ndarray) -> float:
    """By the definition: the rank of a number is how many are below it, and half of those equal to it."""
    ranked = [[sum(y < x for y in v) + sum(y == x for y in v) / 2 for x in v] for v in (a.tolist(), b.tolist())]
    return float(np.corrcoef(ranked[0], ranked[1])[0, 1])


@pytest.mark.parametrize("num_values", [2, 5, 1000])
def test_rank_correlation_is_as_defined(num_values: int) -> None:
    rng = np.random.default_rng()
    a = rng.integers(0, num_values, 60).astype(float)
    b = np.where(rng.random(60) < 0.5, a, rng.integers(0, num_values, 60))
    assert ranks.spearman(a, b) == pytest.approx(slow_spearman(a, b), abs=1e-12)
    assert ranks.spearman(a, -a) == pytest.approx(-1)
    assert ranks.spearman(a, np.full(60, 0.1)) == 0


@pytest.mark.parametrize("num_sequences", [30, 47, 100])
def test_agreement_at_the_top_is_as_defined(num_sequences: int) -> None:
    rng = np.random.default_rng()
    annotated = rng.normal(size=num_sequences)
    predicted = annotated + rng.normal(size=num_sequences)
    found = scorer.agreement_at_the_top(annotated, predicted, 0.3)
    size = 3 * num_sequences // 10
    a, b = (set(sorted(range(num_sequences), key=lambda i: -v[i])[:size]) for v in (annotated, predicted))
    precision, recall = len(a & b) / len(b), len(a & b) / len(a)
    assert found["num_sequences"] == size
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall) if a & b else 0)
    assert found["accuracy"] == pytest.approx(sum((i in a) == (i in b) for i in range(num_sequences)) / num_sequences)
    # chance: what random predictions have on average
    drawn = [scorer.agreement_at_the_top(annotated, rng.random(num_sequences), 0.3) for _ in range(1500)]
    for name in ("accuracy", "f1"):
        assert found[f"{name}_by_chance"] == pytest.approx(np.mean([d[name] for d in drawn]), abs=0.02)
    if num_sequences == 100:
        assert (found["accuracy_by_chance"], found["f1_by_chance"]) == (pytest.approx(0.58), pytest.approx(0.30))


def test_the_report_goes_by_ranks_that_clipping_does_not_touch() -> None:
    annotated = np.array([-9.0, -5.0, *np.linspace(-1, 1, 38)])
    predicted = np.array([-3.0, -4.0, *np.linspace(-1, 1, 38)])
    found = scorer.report(annotated, predicted, 3.0, ["a"] * 15 + ["b"] * 25)
    assert 0.99 < found["spearman"] < 1  # the first two are the wrong way round
    assert found["mse"] == pytest.approx(1 / 40)
    assert found["by_domain"].keys() == {"b"}  # 15 are too few
    assert found["by_domain"]["b"]["num_sequences"] == 25


# --- predictions


@pytest.mark.parametrize("model_type", ["llama", "bert"])
@torch.no_grad()
def test_a_prediction_is_the_mean_over_windows_of_the_mean_over_tokens(
    corpus: Path, annotation: Path, model_type: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    made = ScorerNetwork(network(model_type)(tokenizer=tokenizer)[0]).eval()
    data = scores_of(corpus, annotation)
    samples = np.random.default_rng().permutation(len(data.labels))[:12]
    assert {len(windows(data.input_ids[i], MAX_TOKENS)) for i in samples} != {1}
    module = Scorer(made, 3.0, Optimization(torch.optim.AdamW, lambda *_: None, 0.0), 0)
    together = module(data.batch(samples))
    head, bias = made.head.weight[0], made.head.bias[0]
    for sample, found in zip(samples, together, strict=True):
        parts = windows(data.input_ids[sample], MAX_TOKENS)
        expected = []
        for part in parts:
            ids = torch.tensor(list(part))[None]
            states = made.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            expected.append(float(sum(state @ head for state in states) / len(part) + bias))
        assert float(found) == pytest.approx(weighted_mean(expected, [len(part) for part in parts]), abs=1e-5)


def test_the_end_of_text_is_no_part_of_a_sequence(corpus: Path, annotation: Path) -> None:
    data = scores_of(corpus, annotation)
    by_id = dict(zip(rows(corpus)["id"].to_pylist(), rows(corpus)["text"].to_pylist(), strict=True))
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    for sequence, ids in zip(
        pq.read_table(annotation / "annotation.parquet")["id"].to_pylist(), data.input_ids, strict=True
    ):
        assert tokenizer.decode(ids.tolist()) == by_id[sequence]


# --- batches


def test_labels_are_standardised_on_the_training_part(corpus: Path, annotation: Path) -> None:
    data = scores_of(corpus, annotation)
    raw = pq.read_table(annotation / "annotation.parquet")["lqs"].to_numpy()
    assert len(data.validation) == 44
    assert sorted([*data.validation, *data.training]) == list(range(220))
    mean = sum(raw[i] for i in data.training) / 176
    std = (sum((raw[i] - mean) ** 2 for i in data.training) / 176) ** 0.5
    assert data.standardised == pytest.approx((raw - mean) / std)
    assert data.standardised[data.training].std() == pytest.approx(1)
    assert data.standardised[data.validation].mean() != pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("num_devices", "micro_batch_size"), [(1, 32), (1, 5), (2, 16), (3, 4)])
def test_each_sequence_weighs_the_same_however_a_step_is_shared(
    corpus: Path, annotation: Path, num_devices: int, micro_batch_size: int
) -> None:
    data = scores_of(corpus, annotation, micro_batch_size)
    passes = data.accumulation(num_devices)
    for step in (0, data.steps_per_epoch - 1, data.num_steps - 1):
        losses, labels = [], []
        for rank in range(num_devices):
            batches = list(data.step_batches(step, rank, num_devices, passes))
            assert len(batches) == passes
            assert all(len(batch["label"]) <= micro_batch_size for batch in batches)
            losses += [float(batch["weight"]) * float((batch["label"] ** 2).mean()) for batch in batches]
            labels += [label for batch in batches for label in batch["label"].tolist()]
        assert labels == data.labels[data.step(step)].tolist()
        # a trainer takes the mean over passes and devices
        assert np.mean(losses) == pytest.approx(np.mean(np.square(labels)), rel=1e-6)


def test_an_epoch_has_every_training_sequence(corpus: Path, annotation: Path) -> None:
    data = scores_of(corpus, annotation)
    for epoch in range(2):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        assert set(np.concatenate([data.step(step) for step in steps])) == set(data.training)


# --- training


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


def test_the_split_of_a_step_changes_nothing(corpus: Path, annotation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "log", lambda *_, **__: None)
    encoder = network()(tokenizer=AutoTokenizer.from_pretrained(corpus / "tokenizer"))[0]
    module = Scorer(ScorerNetwork(encoder), 1.0, Optimization(torch.optim.AdamW, lambda *_: None, 0.0), 0)
    gradients = []
    for num_devices, micro_batch_size in ((1, 32), (2, 5)):
        data = scores_of(corpus, annotation, micro_batch_size)
        passes = data.accumulation(num_devices)
        module.zero_grad()
        for rank in range(num_devices):
            for batch in data.step_batches(1, rank, num_devices, passes):
                (module.training_step(batch, 0) / (passes * num_devices)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-5 * float(gradients[0].abs().max()))
    # and it is the gradient of the mean over the step, of labels that are clipped
    data = scores_of(corpus, annotation)
    module.zero_grad()
    whole = data.batch(data.step(1))
    ((module(whole) - whole["label"].clip(-1, 1)) ** 2).mean().backward()
    expected = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    assert gradients[0] == pytest.approx(expected, abs=1e-5 * float(expected.abs().max()))


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


# --- what is refused


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
        with pytest.raises(StageError, match=f"scores to train on are {constant:g}; there is nothing to learn"):
            train(corpus, equal, tmp_path / "s")
    scores[7], scores[100] = np.nan, np.inf
    with pytest.raises(StageError, match=rf"2 of 220 sequences is not a number \(id {ids[7]}, {ids[100]}\)"):
        train(corpus, changed(annotation, tmp_path / "nan", scores), tmp_path / "s")
    with pytest.raises(StageError, match="another corpus"):
        train(corpus, changed(annotation, tmp_path / "other", id=ids[::-1]), tmp_path / "s")
    with pytest.raises(StageError, match=r"0 are to validate on .* scorer.validation_fraction=0.001"):
        train(corpus, annotation, tmp_path / "s", validation_fraction=0.001)


CONVOLUTIONS: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "embedding_size": 32, "max_position_embeddings": 64, "initializer_range": 0.5,
}  # fmt: skip


def test_encoders_that_cannot_be_used_are_refused(corpus: Path, annotation: Path, tmp_path: Path) -> None:
    both = T5Model(T5Config(vocab_size=2000, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    for made, message in (
        (functools.partial(networks.pretrained_encoder, str(tmp_path / "none")), "encoder cannot be made"),
        (functools.partial(networks.encoder, "llama", hiden_size=3), "has no hiden_size"),
        (lambda tokenizer: (both, tokenizer), "t5 is both"),
        (
            functools.partial(networks.encoder, "convbert", **CONVOLUTIONS),
            "convbert reads a text otherwise when padding",
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
    with pytest.raises(StageError, match=r"diverged: at step 6 .* lower scorer.optimizer.lr"):
        train(corpus, annotation, tmp_path / "s", optimizer=optimizer, gradient_clip_norm=None, num_epochs=1)


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
