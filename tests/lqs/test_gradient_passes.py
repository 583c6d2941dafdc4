"""Passes over the samples: gradients of zero, too little memory, and other failures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from annotation_example import annotate, make_inputs, proxy_sequences
from bad_samples import left_out

from qurating.lqs import gradient_passes
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


def test_a_gradient_of_zero_divides_nothing(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = proxy_sequences(shared)[7]
    real = gradient_passes.norms_and_dots

    def vanishing(model: Any, batch: Any, direction: Any, **settings: Any) -> Any:
        norms, dots = real(model, batch, direction, **settings)
        for n, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
            if ids[mask.bool()].tolist() == bad["input_ids"]:
                norms[n] = dots[n] = 0.0
        return norms, dots

    monkeypatch.setattr(gradient_passes, "norms_and_dots", vanishing)
    with pytest.raises(StageError, match=f"proxy sequence {bad['id']} of .*: its gradient is zero at step 6"):
        annotate(tmp_path / "stopped", shared)
    annotate(tmp_path / "skipped", shared, on_bad_sample="skip")
    assert bad["id"] in [row["id"] for row in left_out(tmp_path / "skipped")]
    assert np.isfinite(pq.read_table(tmp_path / "skipped/annotation.parquet")["lqs"].to_numpy()).all()


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_too_little_memory_says_what_to_lower(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:
        if kind == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 70.00 GiB.")
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(gradient_passes, "norms_and_dots", greedy)
    with pytest.raises(
        StageError,
        match=r"out of memory .*annotation.micro_batch_size \(now 8\), or set annotation.layer_checkpointing",
    ):
        annotate(tmp_path, shared)


def test_another_failure_is_not_taken_for_memory(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes that do not fit")

    monkeypatch.setattr(gradient_passes, "norms_and_dots", broken)
    with pytest.raises(RuntimeError, match="shapes that do not fit"):
        annotate(tmp_path, shared)
