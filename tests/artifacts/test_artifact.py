"""The artifact that a run asks for, compared with the existing one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.manifest import sealed
from qurating.artifacts.publishing import building
from qurating.runtime.errors import StageError

RULE = {"_target_": "qurating.selection.rules.select", "num_tokens": 5}


def wanted(path: Path, rule: Any = None, **settings: Any) -> Artifact:
    given = {"_target_": "qurating.stages.selection.select.select", "rule": rule or RULE, **settings}
    return Artifact(path, "select", {"corpus": "corpora/x (01)"}, given, runtime=["num_workers"])


def build(artifact: Artifact) -> None:
    with building(artifact) as work:
        work.counts = {"rows": 1}


def rewrite_in_format_1(path: Path, left_out: dict[str, Any], **given: Any) -> None:
    """Rewrite a manifest in format 1: old module names; settings left out by their last name."""
    made = read_json(path / "manifest.json")
    del made["format"]
    old = {"_target_": "qurating.stages.select.select"}
    made["config"] = old | given
    made["identity"]["config"] = old | left_out
    del made["checksum"], made["fingerprint"]
    resealed = sealed(made)
    del resealed["checksum"]  # earlier versions wrote none
    write_json(path / "manifest.json", resealed)


def test_artifacts_of_an_earlier_version_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "subsets" / "x"
    build(wanted(path))
    rule = {"_target_": "qurating.selection.select", "num_tokens": 5}
    rewrite_in_format_1(path, {"rule": rule}, rule=rule, num_workers=8)
    assert wanted(path, num_workers=2).is_complete()
    with pytest.raises(StageError, match=r"rule\.num_tokens: 5 before, 6 now"):
        wanted(path, {**RULE, "num_tokens": 6}).is_complete()


def test_a_setting_that_an_earlier_version_left_out_is_compared(tmp_path: Path) -> None:
    """Two rules that differ in a nested `strategy` counted as the same: the second took the first one's subset."""
    path = tmp_path / "subsets" / "x"
    build(wanted(path))
    rule = {"_target_": "qurating.selection.select", "num_tokens": 5}
    rewrite_in_format_1(path, {"rule": rule}, rule={**rule, "strategy": "greedy"})
    assert wanted(path, {**RULE, "strategy": "greedy"}).is_complete()
    refused = r"rule\.strategy: 'greedy' before, 'random' now(.|\n)*earlier version of qurating(.|\n)*overwrite=true"
    with pytest.raises(StageError, match=refused):
        wanted(path, {**RULE, "strategy": "random"}).is_complete()


def test_work_started_by_an_earlier_version_continues(tmp_path: Path) -> None:
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


def test_a_complete_artifact_that_is_to_be_made_again_starts_with_its_reusable_files(tmp_path: Path) -> None:
    path = tmp_path / "judgments" / "x"
    with building(wanted(path)) as first:
        (first.folder / "a.txt").write_text("one")
        first.counts = {}
    again = dataclasses.replace(wanted(path), redo=True)
    assert wanted(path).is_complete()
    assert not again.is_complete()
    with building(again, reusable=["a.txt"]) as work:
        assert work.to_do
        assert (work.folder / "a.txt").read_text() == "one"
        work.counts = {}
    assert wanted(path).is_complete()
