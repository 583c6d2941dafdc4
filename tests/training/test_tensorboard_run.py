"""TensorBoard's event files, read back with its own reader."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qurating.runtime.errors import StageError
from qurating.training import tracking
from qurating.training.tensorboard_run import _markdown, tensorboard
from qurating.training.tracking import Histogram, Shown, Source, Table

LM = Source("models/lm", "train_lm", "f" * 64, Path("models/lm"), {})


def a_run(folder: Path, settings: dict[str, Any] | None = None) -> Any:
    given = settings or {"seed": 1, "name": "<b>"}
    return tensorboard(name="top_k,a=1", run_id="0123", folder=str(folder), settings=given, tags=["t", "selection=x"])


def read(folder: Path) -> EventAccumulator:
    (run,) = (folder / "tensorboard").iterdir()
    assert run.name == "top_k,a=1-0123"
    return EventAccumulator(str(run)).Reload()


def texts(events: EventAccumulator, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{tag}/text_summary")]


def test_a_resumed_training_has_each_step_once_and_held_out_losses_are_by_tokens(tmp_path: Path) -> None:
    for steps in ((0, 1, 2), (1, 2, 3)):
        with a_run(tmp_path):
            tracking.begin("train_lm", {"seed": 1})
            (logger,) = tracking.loggers()
            for step in steps:
                logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
                logger.log_metrics({"heldout/nats_per_token": 2.0, "heldout/tokens": 512.0 * (step + 1)}, step)
    events = read(tmp_path)
    losses = [(event.step, event.value) for event in events.Scalars("train_lm/train/loss")]
    assert losses == [(step, pytest.approx(1.0 / (step + 1))) for step in range(4)]
    assert [event.step for event in events.Scalars("train_lm/heldout/nats_per_token")] == [512, 1024, 1536, 2048]
    assert texts(events, "tags") == ["t, selection=x"]
    (config,) = texts(events, "config")
    assert "seed: 1" in config
    assert "name: &lt;b&gt;" in config


def test_nothing_is_lost_by_a_kill_after_it_was_recorded(tmp_path: Path) -> None:
    with a_run(tmp_path):
        tracking.begin("train_lm", {})
        tracking.loggers()[0].log_metrics({"train/loss": 1.0}, 0)
        assert len(read(tmp_path).Scalars("train_lm/train/loss")) == 1  # the writer is still open


def test_an_artifact_is_shown_once(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "figure.png")
    table = Table(["kind", "text"], [["selected", "<script>a</script> | *b*\nnext"], ["rejected", None]])
    media: dict[str, tracking.Value] = {"rate/quality": Histogram([1, 3], [0.0, 1.0, 3.0]), "select/examples": table}
    shown = Shown(
        LM, [], {"train_lm/tokens": 5, "train_lm/label": "<i>"}, media=media | {"a/b": tmp_path / "figure.png"}
    )
    for _ in range(2):
        with a_run(tmp_path):
            tracking.show(LM, lambda: shown, is_made=True)
    events = read(tmp_path)
    (histogram,) = events.Histograms("rate/quality")
    found = histogram.histogram_value
    assert (found.min, found.max, found.num, found.sum) == (0.0, 3.0, 4.0, 6.5)
    assert [(limit, count) for limit, count in zip(found.bucket_limit, found.bucket, strict=True) if count] == [
        (1.0, 1.0),
        (3.0, 3.0),
    ]
    (text,) = texts(events, "select/examples")
    assert text == _markdown(table)
    assert "<script>" not in text
    assert len(text.splitlines()) == 4
    (image,) = events.Images("a/b")
    assert (image.width, image.height) == (3, 2)
    assert [event.value for event in events.Scalars("train_lm/tokens")] == [5.0]
    assert texts(events, "train_lm/label") == ["&lt;i&gt;"]
    assert texts(events, "lineage/models/lm") == [f"output: {Path('models/lm').resolve()}, fingerprint {'f' * 64}"]


def test_texts_of_a_table_are_no_markup() -> None:
    table = _markdown(Table(["a|b", ""], [["[x](javascript:y) & 'z'", np.float64(0.5)]]))
    head, _, row = table.splitlines()
    assert head == "| a&#124;b |  |"
    assert "&amp; 'z'" in row
    for letter in "[]():":
        assert letter not in row
    assert row.endswith("| 0&#46;5 |")


def test_without_the_package_it_says_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(StageError, match=r"pip install -e '\.\[tensorboard\]'"), a_run(tmp_path):
        pass
