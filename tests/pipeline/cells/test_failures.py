"""What is kept of a cell that failed, and what the user reads of it."""

from pathlib import Path

import pytest

from qurating.pipeline.cells import failures
from qurating.runtime.errors import StageError


def test_an_error_of_the_user_is_its_message_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise StageError("no field 'score'\n  Set the field")
        except StageError as error:
            raise RuntimeError("something went wrong") from error
    except RuntimeError as error:
        light = failures.record_error(tmp_path / "0", error)
    assert str(light) == failures.read(tmp_path / "0").reason == "no field 'score' Set the field"
    assert light.__traceback__ is None
    assert light.__context__ is None
    assert "Traceback" not in capfd.readouterr().err


def test_another_error_is_the_end_of_its_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("layers")
    except KeyError as error:
        failures.record_error(tmp_path / "0", error)
    assert failures.read(tmp_path / "0").reason == "KeyError: 'layers'"
    assert 'File "' in capfd.readouterr().err


def test_the_first_failure_of_a_cell_stays_until_the_next_sweep(tmp_path: Path) -> None:
    failures.record(tmp_path / "3", "the cause", tmp_path / "log")
    failures.record(tmp_path / "3", "its consequence in another process")
    failures.record(tmp_path / "11", "other")
    assert failures.find(tmp_path) == {3: ("the cause", str(tmp_path / "log")), 11: ("other", None)}
    (tmp_path / "3" / "artifacts.json").touch()
    failures.forget(tmp_path)
    assert failures.find(tmp_path) == {}
    assert not list(tmp_path.glob("*/*"))


def test_the_user_reads_which_why_and_where() -> None:
    found = {2: failures.Failure("no room", "/log/2"), 1: failures.Failure("killed", None)}
    assert failures.told(found, 4, {1: ["selection=top_k"], 2: ["selection=mix", "seed=1"]}).splitlines() == [
        "2 of 4 cells failed:",
        "  1 (selection=top_k): killed",
        "  2 (selection=mix seed=1): no room",
        "    log: /log/2",
        "The same command again runs these alone: what is complete is skipped.",
    ]
