"""The record of a tracker: what a run has is not sent again, and what fails is said once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qurating.training import tracking
from qurating.training.tracking import Histogram, Point, Shown, Source, Tracker, Value, point

LM = Source("models/lm", "train_lm", "f" * 64, Path("models/lm"), {"tokens": 5})
CORPUS = Source("corpora/c", "prepare_corpus", "c" * 64, Path("corpora/c"), {})


class Kept:
    """A client that keeps what it gets."""

    label = "kept"

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.left: dict[str, float] | None = None
        self.logged: list[tuple[dict[str, Value], Any, int]] = []
        self.summary: dict[str, Any] = {}
        self.linked: list[tuple[str, bool]] = []

    def log(self, values: Mapping[str, Value], x: tuple[str, float] | None, row: int) -> None:
        if self.fails:
            raise OSError("the server is gone\nand more")
        self.logged.append((dict(values), x, row))

    def summarise(self, values: Mapping[str, float | str]) -> None:
        self.summary |= values

    def link(self, source: Source, is_input: bool) -> None:
        self.linked.append((source.name, is_input))

    def kept(self, axes: Mapping[str, str]) -> Mapping[str, float] | None:
        return self.left


def tracker(folder: Path, client: Kept, **place: str) -> Tracker:
    return Tracker(client, folder / "record.json", place, {"name": "n", "group": "g"})


def losses(*steps: int) -> list[Point]:
    return [point("train_lm", {"train/loss": 1.0 / step, "epoch": 0.0}, step) for step in steps]


def test_without_a_tracker_nothing_is_read_and_there_is_no_logger() -> None:
    with tracking.csv_only(project="p", anything=3):
        assert not tracking.is_open()
        assert tracking.loggers() == []
        tracking.begin("train_lm", {"seed": 1})
        tracking.show(LM, lambda: pytest.fail("read for nobody"), is_made=True)


def test_a_point_is_by_step_but_that_of_held_out_text_by_tokens() -> None:
    assert losses(4) == [Point("train_lm/step", 4, {"train_lm/train/loss": 0.25})]
    found = point("train_lm", {"heldout/nats_per_token": 2.0, "heldout/tokens": 512.0}, 3)
    assert found == Point("train_lm/heldout/tokens", 512.0, {"train_lm/heldout/nats_per_token": 2.0})


def test_a_resumed_training_continues_its_curve_and_the_artifact_adds_what_is_missing(tmp_path: Path) -> None:
    first, second = Kept(), Kept()
    with tracking.opened(tracker(tmp_path, first)):
        tracking.begin("train_lm", {"seed": 1})
        for step in (1, 2, 3):  # and is killed
            tracking.loggers()[0].log_metrics({"train/loss": 1.0 / step, "epoch": 0}, step)
    with tracking.opened(tracker(tmp_path, second)):
        tracking.begin("train_lm", {"seed": 1})
        for step in (2, 3, 4):  # from its checkpoint of step 1
            tracking.loggers()[0].log_metrics({"train/loss": 1.0 / step}, step)
        tracking.show(LM, lambda: Shown(LM, points=losses(1, 2, 3, 4, 5)), is_made=True)
    assert [x for _, x, _ in first.logged] == [("train_lm/step", step) for step in (1, 2, 3)]
    assert [x for _, x, _ in second.logged] == [("train_lm/step", step) for step in (4, 5)]
    assert [row for _, _, row in [*first.logged, *second.logged]] == [0, 1, 2, 3, 4]


def test_what_a_kill_has_lost_is_sent_again(tmp_path: Path) -> None:
    shown = Shown(LM, [CORPUS], points=losses(1, 2, 3), media={"train_lm/a": 1.0, "train_lm/b": 2.0})
    first, second, third = Kept(), Kept(), Kept()
    with tracking.opened(tracker(tmp_path, first)):
        tracking.show(LM, lambda: shown, is_made=True)
    second.left = {"train_lm/train/loss": 1.0, "train_lm/a": 0.0}  # the client was killed with the rest in its buffer
    after_kill = tracker(tmp_path, second)
    with tracking.opened(after_kill):
        tracking.show(LM, lambda: shown, is_made=False)
    after_kill.close()
    assert [x for _, x, _ in second.logged] == [("train_lm/step", 2), ("train_lm/step", 3), None]
    assert second.logged[-1][0] == {"train_lm/b": 2.0}
    assert second.linked == first.linked == [("corpora/c", True), ("models/lm", False)]
    third.left = {}
    with tracking.opened(tracker(tmp_path, third)):
        tracking.show(LM, lambda: shown, is_made=False)
    assert (third.logged, third.linked) == ([], [])  # it was closed: nothing can be lost


def test_metrics_of_one_step_do_not_hide_each_other(tmp_path: Path) -> None:
    client = Kept()
    with tracking.opened(tracker(tmp_path, client)):
        tracking.begin("train_rater", {})
        (logger,) = tracking.loggers()
        logger.log_metrics({"train/loss": 1.0}, 4)
        logger.log_metrics({"train/loss": 9.0, "validation/loss": 2.0}, 4)
    expected = [{"train_rater/train/loss": 1.0}, {"train_rater/validation/loss": 2.0}]
    assert [values for values, _, _ in client.logged] == expected


def test_a_training_with_other_settings_starts_its_curve_again_and_leaves_the_others(tmp_path: Path) -> None:
    client = Kept()
    with tracking.opened(tracker(tmp_path, client)):
        for stage, seed in (("train_rater", 1), ("train_lm", 1), ("train_lm", 2), ("train_rater", 1)):
            tracking.begin(stage, {"seed": seed})
            tracking.loggers()[0].log_metrics({"train/loss": float(seed)}, 0)
    expected = [{"train_rater/train/loss": 1.0}, {"train_lm/train/loss": 1.0}, {"train_lm/train/loss": 2.0}]
    assert [values for values, _, _ in client.logged] == expected


def test_an_artifact_is_shown_once_with_its_lineage_and_again_when_its_content_changes(tmp_path: Path) -> None:
    client = Kept()
    for fingerprint in ("f" * 64, "f" * 64, "e" * 64):
        source = LM._replace(fingerprint=fingerprint)
        with tracking.opened(run := tracker(tmp_path, client)):
            shown = Shown(source, [CORPUS], {"train_lm/tokens": 5}, media={"train_lm/h": Histogram([1], [0.0, 1.0])})
            tracking.show(source, lambda shown=shown: shown, is_made=True)  # type: ignore[misc]
        run.close()
    assert client.linked == [("corpora/c", True), ("models/lm", False), ("models/lm", False)]
    assert [values for values, _, _ in client.logged] == [{"train_lm/h": Histogram([1], [0.0, 1.0])}] * 2
    assert client.summary == {"train_lm/tokens": 5}


def test_an_artifact_that_was_complete_is_an_input(tmp_path: Path) -> None:
    client = Kept()
    with tracking.opened(tracker(tmp_path, client)):
        tracking.show(LM, lambda: Shown(LM), is_made=False)
    assert client.linked == [("models/lm", True)]


def test_the_record_of_another_place_or_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    client = Kept()
    for project in ("a", "a", "b"):
        tracker(tmp_path, client, project=project).log(losses(1)[0])
    (tmp_path / "record.json").write_text("{", encoding="utf-8")
    tracker(tmp_path, client, project="b").log(losses(1)[0])
    assert [row for _, _, row in client.logged] == [0, 0, 0]


def test_what_fails_is_said_once_and_sent_by_the_next_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tracking.opened(tracker(tmp_path, Kept(fails=True))):
        tracking.begin("train_lm", {})
        for step in (1, 2):
            tracking.loggers()[0].log_metrics({"train/loss": 1.0}, step)
        tracking.show(LM, lambda: Shown(LM, points=losses(1, 2)), is_made=True)
    printed = capsys.readouterr().out
    assert printed.count("kept: OSError: the server is gone") == 1
    assert "The work goes on" in printed
    assert "and more" not in printed
    client = Kept()
    with tracking.opened(tracker(tmp_path, client)):
        tracking.show(LM, lambda: Shown(LM, points=losses(1, 2)), is_made=False)
    assert [x for _, x, _ in client.logged] == [("train_lm/step", 1), ("train_lm/step", 2)]
