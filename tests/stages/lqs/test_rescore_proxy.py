"""Another denominator from a stored annotation: the same bytes as an annotation of its own, without a gradient."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from annotation_example import annotate, make_inputs

from qurating.runtime.errors import StageError
from qurating.stages.lqs.rescore_proxy import rescore_proxy

# as many visited steps as a sum needs to depend on its order
MANY_STEPS: dict[str, Any] = {"num_steps": 12, "contribution_interval": 1, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("denominator", ["none", "same_step"])
def test_it_is_the_annotation_with_that_denominator_to_the_byte(
    inputs: dict[str, Path], tmp_path: Path, denominator: str
) -> None:
    annotate(tmp_path / "lqs", inputs, **MANY_STEPS)
    own = annotate(tmp_path / "own", inputs, denominator=denominator, **MANY_STEPS)
    (tmp_path / "again").mkdir()
    assert rescore_proxy(output=tmp_path / "again", annotation=tmp_path / "lqs", denominator=denominator) == own
    names = ("annotation.parquet", "summary.json", "trajectory.csv")
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()
    lqs, again = (pq.read_table(tmp_path / key / "annotation.parquet") for key in ("lqs", "again"))
    assert again["dots"].equals(lqs["dots"])
    assert not again["lqs"].equals(lqs["lqs"])


def test_what_the_annotation_left_out_stays_out(inputs: dict[str, Path], tmp_path: Path) -> None:
    annotate(tmp_path / "lqs", inputs)
    left_out = json.dumps({"kind": "proxy sequence", "id": 5, "document_id": "a", "reason": "its gradient is zero"})
    (tmp_path / "lqs" / "left_out.jsonl").write_text(f"{left_out}\n")
    (tmp_path / "again").mkdir()
    counts = rescore_proxy(output=tmp_path / "again", annotation=tmp_path / "lqs", denominator="none")
    assert (tmp_path / "again" / "left_out.jsonl").read_text() == f"{left_out}\n"
    assert counts["sequences"] == len(pq.read_table(tmp_path / "again" / "annotation.parquet"))


def test_a_denominator_at_another_step_is_refused(tmp_path: Path) -> None:
    for denominator in ("next_step", "next_visited", "foo"):
        with pytest.raises(StageError, match=f"denominator={denominator} cannot be computed from mine: annotate_proxy"):
            rescore_proxy(output=tmp_path, annotation=tmp_path / "mine", denominator=denominator)
