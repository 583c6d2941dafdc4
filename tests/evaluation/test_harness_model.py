"""The model as the harness asks it: contexts that are too short."""

from pathlib import Path

import pytest
from tasks_example import needs_lm_eval, random_model, run, task_folder

from qurating.runtime.errors import StageError

pytestmark = needs_lm_eval


def test_an_answer_longer_than_the_context_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"has a context of 16 tokens, too short for an answer of \d+: "):
        run(random_model(tmp_path / "lm", context=16), tmp_path / "out")


def test_a_question_longer_than_the_context_stops_or_is_cut_and_counted(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    model, whole = random_model(tmp_path / "lm", context=64), random_model(tmp_path / "long", context=512)
    folder = str(task_folder(tmp_path / "own"))
    given = {"include_path": folder, "tasks": [{"task": "many_sums", "num_fewshot": 3}], "limit": None}
    with pytest.raises(StageError, match=r"has a context of 64: lower num_fewshot, or set tasks\.on_too_long=cut"):
        run(model, tmp_path / "stop", on_too_long="stop", **given)
    counts = run(model, tmp_path / "cut", **given)
    assert counts["cut"] == 9  # three examples of some 40 tokens each
    assert run(whole, tmp_path / "whole", on_too_long="stop", **given)["cut"] == 0
    cut, full = (pq.read_table(tmp_path / x / "items.parquet") for x in ("cut", "whole"))
    assert cut["is_cut"].to_pylist() == [True] * 9
    assert cut["log_likelihoods"] != full["log_likelihoods"]


def test_a_context_without_room_to_write_is_an_error(tmp_path: Path) -> None:
    folder = str(task_folder(tmp_path / "own"))
    with pytest.raises(StageError, match="too short for a task that writes up to 4"):
        run(random_model(tmp_path / "lm", context=4), tmp_path / "out", tasks=["written_sums"], include_path=folder)
