"""Work in parallel processes and in a thread."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def _begin_and_end(folder: Path) -> None:
    (folder / "begun").touch()
    time.sleep(0.5)
    (folder / "ended").touch()


def test_work_that_has_begun_ends_before_the_error_is_raised(tmp_path: Path) -> None:
    from qurating.runtime.workers import in_workers

    def batches() -> Iterator[Path]:
        yield tmp_path
        deadline = time.monotonic() + 600
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_workers(_begin_and_end, batches(), 2))
    assert (tmp_path / "ended").exists()
