"""Likelihoods of tokens: however many logits are held at a time, and for causal models alone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from evaluation_example import corpus_and_model, run

from qurating.models import likelihood


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return corpus_and_model(tmp_path_factory.mktemp("evaluate"))


def test_batches_and_chunks_change_nothing(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(made, tmp_path / "a", batch_size_sequences=1)
    monkeypatch.setattr(likelihood, "MAX_LOGITS", 600 * 11)  # eleven tokens at a time
    run(made, tmp_path / "b", batch_size_sequences=33)
    a, b = (pq.read_table(tmp_path / x / "sequences.parquet")["nll_nats"].to_numpy() for x in "ab")
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_logits_are_never_held_for_more_than_the_bound(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    plain = likelihood.F.cross_entropy

    def watched(logits: torch.Tensor, *given: object, **named: object) -> torch.Tensor:
        sizes.append(logits.numel())
        return plain(logits, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(likelihood, "MAX_LOGITS", 600 * 50)
    monkeypatch.setattr(likelihood.F, "cross_entropy", watched)
    run(made, tmp_path / "out", batch_size_sequences=64)
    assert max(sizes) == 600 * 50
