"""What a killed process has left in the files of the real client."""

import struct
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from qurating.training.wandb_files import last_places, records

NUM_ROWS = 300


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a run that takes more than one block, with texts that cross the ends of blocks."""
    folder = tmp_path_factory.mktemp("runs")
    settings = wandb.Settings(silent=True, console="off", x_disable_machine_info=True, disable_git=True)
    run = wandb.init(id="0123", dir=folder, mode="offline", settings=settings)
    for step in range(NUM_ROWS):
        run.log({"a/loss": 1.0 / (step + 1), "a/step": step, "b": "x" * (997 * step % 5000)}, step=step)
    run.finish()
    wandb.teardown()  # only then the file is whole: the service writes on after `finish`
    (found,) = folder.glob("wandb/offline-run-*-0123/run-0123.wandb")
    assert found.stat().st_size > 5 * 32768
    return found


def test_everything_of_a_whole_file_is_read(file: Path) -> None:
    axes = {"a/loss": "a/step"}
    found = last_places(file.parents[1], "0123", axes)
    assert (found["a/loss"], found["b"]) == (NUM_ROWS - 1, 0.0)
    assert [r.num for r in records(file)] == list(range(1, len([*records(file)]) + 1))
    assert last_places(file.parents[1], "other", axes) == {}


def part(kind: int, data: bytes) -> bytes:
    return struct.pack("<IHB", 0, len(data), kind) + data


def test_a_block_may_end_with_an_empty_part(tmp_path: Path) -> None:
    """Where exactly the head of a part fits into a block, the record begins there without a byte."""
    first, second = (Record(num=number, uuid="x" * size) for number, size in ((1, 32_600), (2, 50)))
    whole = first.SerializeToString()
    room = 32_768 - 7 - 7 - 7  # without the heads of the file, of this part and of the empty one
    first.uuid += "x" * (room - len(whole))
    assert len(first.SerializeToString()) == room
    file = tmp_path / "run-0123.wandb"
    file.write_bytes(bytes(7) + part(1, first.SerializeToString()) + part(2, b"") + part(4, second.SerializeToString()))
    assert [record.num for record in records(file)] == [1, 2]


@pytest.mark.parametrize("num_bytes", [0, 5, 7, 1000, 32768, 32771, 100_000, 131_073])
def test_a_file_that_was_cut_is_read_up_to_there(file: Path, tmp_path: Path, num_bytes: int) -> None:
    cut = tmp_path / "wandb/offline-run-1-0123/run-0123.wandb"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(file.read_bytes()[:num_bytes])
    whole, part = [r.num for r in records(file)], [r.num for r in records(cut)]
    assert part == whole[: len(part)]
    steps = [float(r.history.step.num) for r in records(cut) if r.WhichOneof("record_type") == "history"]
    found = last_places(tmp_path / "wandb", "0123", {"a/loss": "a/step"})
    assert found.get("a/loss", -1.0) == (steps[-1] if steps else -1.0)
