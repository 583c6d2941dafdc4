"""How far a stage is, from working folders as stages leave them."""

from pathlib import Path

import pytest

from qurating.artifacts.files import write_json
from qurating.pipeline.cells import progress
from qurating.pipeline.cells.progress import Progress


@pytest.fixture
def working(tmp_path: Path) -> Path:
    folder = tmp_path / "models/.x.partial"
    folder.mkdir(parents=True)
    return folder


def log_steps(working: Path, start: int, steps: list[int]) -> None:
    rows = "".join(f"0,{step},0.5\n" for step in steps)
    file = working / f"metrics/from_step_{start}/metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(f"epoch,step,loss\n{rows}")


def test_a_training_is_at_the_last_step_that_it_logged(tmp_path: Path, working: Path) -> None:
    (working / "metrics").mkdir()
    write_json(working / "metrics/total.json", 40)
    assert progress.of("train_lm", "models/x", tmp_path) == Progress(0, 40, "steps")
    log_steps(working, 0, [4, 9, 14])  # counted from 0
    assert progress.of("train_lm", "models/x", tmp_path) == Progress(15, 40, "steps")


def test_a_resumed_training_is_back_at_its_checkpoint(tmp_path: Path, working: Path) -> None:
    log_steps(working, 0, [4, 9, 14])
    log_steps(working, 8, [])
    assert progress.of("train_lm", "models/x", tmp_path) == Progress(8, None, "steps")


def test_answers_of_a_judge(tmp_path: Path) -> None:
    working = tmp_path / "judgments/.x.partial"
    working.mkdir(parents=True)
    (working / "journal.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a": 3')
    write_json(working / "total.json", 8)
    assert progress.of("judge", "judgments/x", tmp_path) == Progress(2, 8, "requests")


def test_shards_of_ratings_of_those_of_the_corpus(tmp_path: Path) -> None:
    for number in range(5):
        for folder in ("corpora/c", "ratings/.x.partial"):
            (tmp_path / folder / "train").mkdir(parents=True, exist_ok=True)
            if folder.startswith("corpora") or number < 2:
                (tmp_path / folder / f"train/{number:05}.parquet").touch()
    (tmp_path / "ratings/.x.partial/train/.00002.parquet.17.tmp").touch()
    (tmp_path / "ratings/.x.partial/train/.00003.parquet").touch()  # half written
    write_json(tmp_path / "ratings/.x.plan.json", {"identity": {"inputs": {"corpus": "corpora/c (0123)"}}})
    assert progress.of("rate", "ratings/x", tmp_path) == Progress(2, 5, "shards")


@pytest.mark.parametrize("stage", ["rate", "select", "train_lm"])
def test_what_does_not_tell_is_no_progress(tmp_path: Path, working: Path, stage: str) -> None:
    assert progress.of(stage, "models/x", tmp_path) is None
    assert progress.of(stage, "models/another", tmp_path) is None
    (working / "metrics/from_step_x").mkdir(parents=True)
    (working / "metrics/from_step_x/metrics.csv").write_text("step\nno number\n")
    assert progress.of(stage, "models/x", tmp_path) is None


def test_who_builds_is_in_the_plan_unless_several_do(tmp_path: Path, working: Path) -> None:
    assert progress.builder("models/x", tmp_path) is None
    write_json(tmp_path / "models/.x.plan.json", {"host": "node7", "process": 12})
    assert progress.builder("models/x", tmp_path) == ("node7", 12)
    (tmp_path / "models/.x.share-0_of_2.lock").touch()
    assert progress.builder("models/x", tmp_path) is None
