"""TensorBoard: one folder of event files per cell, which a resumed cell continues."""

import contextlib
import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from qurating.runtime.errors import StageError
from qurating.training.tracking import Histogram, Source, Table, Tracker, Value, opened

_MAX_NAME = 150  # characters of a cell's name in the name of its folder


@contextlib.contextmanager
def tensorboard(*, name: str, run_id: str, folder: str, settings: Mapping[str, Any], tags: list[str]) -> Iterator[None]:
    """Event files in `<folder>/tensorboard/<name>-<run_id>`.

    Args:
        run_id: stable for a cell, so that a resumed cell continues its run.
        settings: the resolved config, without secrets.

    Raises:
        StageError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise StageError("logger=tensorboard needs the package tensorboard: pip install -e '.[tensorboard]'") from None
    files = Path(folder) / "tensorboard" / f"{name[:_MAX_NAME]}-{run_id}"
    record = files / "logged.json"
    is_new = not record.is_file()
    with SummaryWriter(str(files)) as writer:
        if is_new:
            writer.add_text("tags", html.escape(", ".join(tags)))
            writer.add_text("config", _code(OmegaConf.to_yaml(OmegaConf.create(dict(settings)))))
        tracker = Tracker(_Client(writer), record, {}, {"name": name, "group": ""})
        with opened(tracker):
            yield
        tracker.close()


class _Client:
    """Puts what a tracker shows into event files; the axis of a curve is its step."""

    label = "tensorboard"

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, Value], x: tuple[str, float] | None, row: int) -> None:
        step = 0 if x is None else int(x[1])
        for name, value in values.items():
            if isinstance(value, Histogram):
                self._writer.add_histogram_raw(name, **_raw(value), global_step=step)
            elif isinstance(value, Table):
                self._writer.add_text(name, _markdown(value), step)
            elif isinstance(value, Path):
                from matplotlib.image import imread

                self._writer.add_image(name, imread(value), step, dataformats="HWC")
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a kill must not lose what the record says is there

    def summarise(self, values: Mapping[str, float | str]) -> None:
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, html.escape(value), 0)
            else:
                self._writer.add_scalar(name, value, 0)
        self._writer.flush()

    def kept(self, axes: Mapping[str, str]) -> None:
        """Nothing gets lost: everything is written at once."""

    def link(self, source: Source, is_input: bool) -> None:
        role = "input" if is_input else "output"
        text = f"{role}: {source.folder.resolve()}, fingerprint {source.fingerprint}"
        self._writer.add_text(f"lineage/{source.name}", html.escape(text), 0)


def _raw(value: Histogram) -> dict[str, Any]:
    """The arguments of `add_histogram_raw`; sums are of the middles of the bins."""
    counts, edges = np.array(value.counts), np.array(value.edges)
    middles = (edges[:-1] + edges[1:]) / 2
    return {
        "min": edges[0],
        "max": edges[-1],
        "num": counts.sum(),
        "sum": (counts * middles).sum(),
        "sum_squares": (counts * middles**2).sum(),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }


def _markdown(table: Table) -> str:
    """A table in Markdown; texts are shown as they are, and not as Markdown or HTML."""

    def line(cells: Any) -> str:
        return "| " + " | ".join("" if cell is None else _plain(str(cell)) for cell in cells) + " |"

    return "\n".join([line(table.columns), "|---" * len(table.columns) + "|", *map(line, table.rows)])


def _plain(text: str) -> str:
    """Text with everything escaped that Markdown or HTML would take for markup, on one line."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"&#{ord(letter)};" if letter in "\\`*_{}[]()#+-.!|~:" else letter for letter in escaped)


def _code(text: str) -> str:
    """A block of code in Markdown."""
    return "".join(f"    {html.escape(line)}\n" for line in text.splitlines())
