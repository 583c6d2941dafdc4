"""An annotation that is killed and run again, and one that several processes share."""

import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from annotation_example import annotate, make_inputs
from costate_failures import fail_at
from two_processes import run_in_two

from qurating.lqs import costate, gradient_passes
from qurating.stages.lqs import annotate_proxy as stage

# children are forks of one process that has imported everything, and has run nothing
FORKS = multiprocessing.get_context("forkserver")


FORKS.set_forkserver_preload(["qurating.stages.lqs.annotate_proxy"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annotation that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    annotate(folder, inputs)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    assert not (folder / "working").exists()
    # a kill may cut a write short: publishing deletes what that left
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.match(".*.tmp")}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_short_at_every_file_it_ends_the_same(
    inputs: dict[str, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Each attempt may write three files; the next rename fails, or the process ends right after it."""
    rename: Callable[[Any, Any], None] = os.replace
    seen, renamed = list[str](), list[str]()

    def replace(source: Any, target: Any) -> None:
        if moment == "before" and len(renamed) == 3:
            raise InterruptedError
        rename(source, target)
        renamed.append(Path(target).name)
        if moment == "after" and len(renamed) == 4:
            raise InterruptedError

    monkeypatch.setattr(os, "replace", replace)
    for attempt in range(20):
        renamed.clear()
        try:
            annotate(tmp_path / "cut", inputs)
        except InterruptedError:
            seen += renamed
            assert attempt < 19
        else:
            break
    seen += renamed
    assert attempt > 3
    assert {"annotation.parquet", "summary.json", "costate.safetensors", "state-3.safetensors"} <= set(seen)
    # what has been finished is not done again
    blocks = [name for name in seen if name[0].isdigit()]
    assert len(blocks) == 3 * 3
    assert files(tmp_path / "cut") == files(whole)


def test_cut_short_while_clearing_up_it_ends_the_same(
    inputs: dict[str, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(folder: Path, **_: Any) -> None:
        remove(folder / "passes")
        raise InterruptedError

    remove = shutil.rmtree
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", half)
        with pytest.raises(InterruptedError):
            annotate(tmp_path, inputs)
    monkeypatch.setattr(stage, "annotate", lambda *_: pytest.fail("there was nothing left to do"))
    annotate(tmp_path, inputs)
    assert files(tmp_path) == files(whole)


def _annotate_and_say_so(output: Path, inputs: dict[str, Path], started: Any) -> None:
    torch.set_num_threads(1)
    started.set()
    annotate(output, inputs)


def test_killed_at_any_time_it_ends_the_same(inputs: dict[str, Path], whole: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    kills = 0
    for attempt in range(4):
        started = FORKS.Event()
        child = FORKS.Process(target=_annotate_and_say_so, args=(tmp_path, inputs, started))
        child.start()
        assert started.wait(600)
        if attempt < 3:
            time.sleep(draw.uniform(0.02, 0.2 + 0.4 * attempt))  # the whole takes half a second on a quick machine
            child.kill()
        child.join()
        kills += child.exitcode != 0
        if (tmp_path / "summary.json").exists():
            break
    assert kills > 0
    annotate(tmp_path, inputs)
    assert files(tmp_path) == files(whole)


def _of_two(rank: int, output: Path, inputs: dict[str, Path], reports: list[Path]) -> None:
    """One of two processes; reports its blocks and co-states."""
    blocks, digests = [], []
    block, step_back = gradient_passes.GradientPasses._block, costate.Costate.step_back

    def _block(self: Any, step: int, number: int, direction: Any) -> Any:
        blocks.append([step, number])
        return block(self, step, number, direction)

    def _step_back(self: Any) -> None:
        step_back(self)
        digests.append([hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in self.vector.values()])

    gradient_passes.GradientPasses._block = _block  # type: ignore
    costate.Costate.step_back = _step_back  # type: ignore
    trainer = functools.partial(pl.Trainer, accelerator="cpu", devices=2, num_nodes=1, strategy="ddp")
    counts = annotate(output, inputs, trainer=trainer)
    reports[rank].write_text(json.dumps({"blocks": blocks, "costates": digests, "counts": counts}))


def _two_processes(output: Path, inputs: dict[str, Path], folder: Path) -> list[dict[str, Any]]:
    reports = [folder / f"{rank}.json" for rank in range(2)]
    assert run_in_two(_of_two, output, inputs, reports, context=FORKS) == [0, 0]
    return [json.loads(report.read_text()) for report in reports]


@pytest.mark.parametrize("begun", [False, True], ids=["from the beginning", "begun by one process"])
def test_two_processes_share_the_work_and_agree_with_one(
    inputs: dict[str, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    if begun:
        with monkeypatch.context() as patched:
            patched.setattr(costate.Costate, "step_back", functools.partialmethod(fail_at, 5))
            with pytest.raises(InterruptedError):
                annotate(tmp_path / "two", inputs)
    first, second = _two_processes(tmp_path / "two", inputs, tmp_path)
    assert first["counts"]["sequences"] == 18
    assert second["counts"] == {}
    assert first["costates"] == second["costates"]
    assert len(first["costates"]) == (3 if begun else 4)
    done = [(step, number) for step in (2, 4) for number in range(3)]
    done += [] if begun else [(6, number) for number in range(3)]
    assert sorted(map(tuple, first["blocks"] + second["blocks"])) == sorted(done)
    assert {number % 2 for _, number in first["blocks"]} == {0}
    one, two = (pq.read_table(folder / "annotation.parquet") for folder in (whole, tmp_path / "two"))
    assert one["id"].to_pylist() == two["id"].to_pylist()
    assert two["lqs"].to_numpy() == pytest.approx(one["lqs"].to_numpy(), rel=1e-4, abs=1e-4)
    assert not (tmp_path / "two/working").exists()
