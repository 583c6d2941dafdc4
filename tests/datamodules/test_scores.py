"""Annotated sequences as batches: their labels, and how a step is shared."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scorer_fixtures import annotation_of, corpus_of_paragraphs, rows, scores_of
from transformers import AutoTokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def annotation(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotation_of(corpus, tmp_path_factory.mktemp("annotation") / "a")


def test_the_end_of_text_is_no_part_of_a_sequence(corpus: Path, annotation: Path) -> None:
    data = scores_of(corpus, annotation)
    by_id = dict(zip(rows(corpus)["id"].to_pylist(), rows(corpus)["text"].to_pylist(), strict=True))
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    for sequence, ids in zip(
        pq.read_table(annotation / "annotation.parquet")["id"].to_pylist(), data.input_ids, strict=True
    ):
        assert tokenizer.decode(ids.tolist()) == by_id[sequence]


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
