"""Ratings by a function of the text: tasks, workers and restarts change nothing."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from baselines_example import weighed
from scorer_fixtures import corpus_of_paragraphs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=60)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    pq.write_table(pa.table({"text": ["f(x) = [y for y in x]", "g(*a, **b)"]}), folder / "target.parquet")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_tasks_and_workers_and_a_restart_change_nothing(
    corpus: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(tmp_path / "a", corpus, target)
    assert weighed(tmp_path / "b", corpus, target, shard=1, num_shards=3) is None
    assert weighed(tmp_path / "b", corpus, target, shard=0, num_shards=3) is None
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "b/train").iterdir()}
    monkeypatch.setattr("qurating.rating.by_text._TEXTS_AT_ONCE", 4)
    # as after a kill: what is there stays
    assert weighed(tmp_path / "b", corpus, target, num_workers=2)["sequences"] == 60
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in (tmp_path / "b/train").iterdir()}.items()
