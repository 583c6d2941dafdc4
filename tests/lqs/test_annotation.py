"""Settings of an annotation, and its progress along the training and back."""

import functools
from pathlib import Path
from typing import Any, ClassVar

import pytest
from annotation_example import annotate, make_inputs
from costate_failures import fail_at

from qurating.lqs import annotation, costate
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("denominator", "first", "annotation.denominator=first is none of next_visited, next_step, same_step, none"),
        ("hessian", "yes", "annotation.hessian=yes is none of exact, finite_differences, none"),
        ("trajectory", "disk", "annotation.trajectory=disk is none of keep, bf16_differences, recompute"),
        ("precision", "16-mixed", "annotation.precision=16-mixed is none of 32-true, bf16-mixed"),
        ("on_bad_sample", "go", "annotation.on_bad_sample=go is none of stop, skip"),
        ("contribution_interval", 6, "visits none of the steps 1 to 5: lower annotation.contribution_interval"),
        ("contribution_interval", 0, "visits none of the steps 1 to 5: lower annotation.contribution_interval"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    inputs: dict[str, Path], tmp_path: Path, setting: str, value: Any, message: str
) -> None:
    with pytest.raises(StageError, match=message):
        annotate(tmp_path, inputs, **{setting: value})


class Bar:
    """Stands for tqdm: records the work that is reported."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, *, desc: str, total: float, initial: float, **_: Any) -> None:
        self.desc, self.total, self.initial, self.at = desc, total, initial, initial
        Bar.made.append(self)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, work: float) -> None:
        self.at += work


def test_progress_is_one_bar_that_goes_on_where_it_was(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Bar.made.clear()
    monkeypatch.setattr(annotation, "tqdm", Bar)
    with monkeypatch.context() as patched:
        patched.setattr(costate.Costate, "step_back", functools.partialmethod(fail_at, 4))
        with pytest.raises(InterruptedError):
            annotate(tmp_path, inputs)
    annotate(tmp_path, inputs)
    first, second = Bar.made
    assert first.desc == "annotating"
    assert first.initial == 0
    assert first.total == second.total
    # at most two steps of three samples were recomputed for the state where it was cut
    assert first.at - 6 <= second.initial <= first.at < first.total
    assert second.at == pytest.approx(second.total)
