"""An artifact as a run wants it, against what lies there."""

from pathlib import Path
from typing import Any

import pytest

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.publishing import building
from qurating.runtime.errors import StageError

RULE = {"_target_": "qurating.selection.rules.select", "num_tokens": 5}


def wanted(path: Path, rule: Any = None, **settings: Any) -> Artifact:
    given = {"_target_": "qurating.stages.selection.select.select", "rule": rule or RULE, **settings}
    return Artifact(path, "select", {"corpus": "corpora/x (01)"}, given, runtime=["num_workers"])


def build(artifact: Artifact) -> None:
    with building(artifact) as work:
        work.counts = {"rows": 1}


def as_the_version_before_wrote_it(path: Path, left_out: dict[str, Any], **given: Any) -> None:
    """Turn a manifest back: no format; modules named as they were; settings left out by their last name."""
    made = read_json(path / "manifest.json")
    del made["format"]
    old = {"_target_": "qurating.stages.select.select"}
    made["config"] = old | given
    made["identity"]["config"] = old | left_out
    write_json(path / "manifest.json", made)


def test_what_the_version_before_made_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "subsets" / "x"
    build(wanted(path))
    rule = {"_target_": "qurating.selection.select", "num_tokens": 5}
    as_the_version_before_wrote_it(path, {"rule": rule}, rule=rule, num_workers=8)
    assert wanted(path, num_workers=2).is_complete()
    with pytest.raises(StageError, match=r"rule\.num_tokens: 5 before, 6 now"):
        wanted(path, {**RULE, "num_tokens": 6}).is_complete()


def test_a_setting_that_the_version_before_left_out_is_compared_now(tmp_path: Path) -> None:
    """Two rules that differ in a nested `strategy` counted as the same: the second took the first one's subset."""
    path = tmp_path / "subsets" / "x"
    build(wanted(path))
    rule = {"_target_": "qurating.selection.select", "num_tokens": 5}
    as_the_version_before_wrote_it(path, {"rule": rule}, rule={**rule, "strategy": "greedy"})
    assert wanted(path, {**RULE, "strategy": "greedy"}).is_complete()
    refused = r"rule\.strategy: 'greedy' before, 'random' now(.|\n)*earlier version of qurating(.|\n)*overwrite=true"
    with pytest.raises(StageError, match=refused):
        wanted(path, {**RULE, "strategy": "random"}).is_complete()


def test_work_that_the_version_before_began_is_gone_on_with(tmp_path: Path) -> None:
    artifact = wanted(tmp_path / "subsets" / "x", num_workers=8)

    def killed() -> None:
        with building(artifact) as work:
            (work.folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    plan_file = artifact.path.with_name(".x.plan.json")
    plan = read_json(plan_file)
    rule = {"_target_": "qurating.selection.select", "num_tokens": 5}
    plan["identity"]["config"] = {"_target_": "qurating.stages.select.select", "rule": rule}
    write_json(plan_file, plan)
    with building(artifact) as work:
        assert (work.folder / "half").read_text() == "half"
        work.counts = {}
    assert work.published
