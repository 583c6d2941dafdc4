"""What `run_stage` takes for the same artifact."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose
from sweep_example import corpus as make_corpus

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building
from qurating.pipeline.naming import name_artifacts
from qurating.pipeline.run import run_stage
from qurating.runtime.errors import StageError

RULE = ["selection.rule={_target_:strategy_rule.pick,_partial_:true}", "selection.by_domain=false"]
NESTED = [("strategy", "first", "last"), ("devices", "1", "2"), ("num_workers", "1", "2")]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts with a corpus of real text in it."""
    root = tmp_path_factory.mktemp("artifacts")
    with building(Artifact(root / "corpora" / "embedded", "prepare_corpus", {}, {})) as work:
        make_corpus(work.folder)
        work.counts = {}
    return root


def select(root: Path, *overrides: str) -> list[int]:
    """Run the stage under the name `subsets/mine`; the ids of its subset."""
    given = ["stage=[select]", f"paths.artifacts={root}", "artifacts.select=subsets/mine", *RULE, *overrides]
    folder = run_stage("select", compose("config", given), "[1/1]")
    ids: list[int] = pq.read_table(folder / "subset.parquet")["id"].to_pylist()
    return ids


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(("key", "one", "other"), NESTED)
def test_rules_that_differ_in_a_nested_setting_are_different_artifacts(
    artifacts: Path, key: str, one: str, other: str
) -> None:
    """A nested `strategy` or `devices` was taken for a setting of how a stage runs: the first subset was reused."""
    strategy = [] if key == "strategy" else ["+selection.rule.strategy=first"]
    first = select(artifacts, *strategy, f"+selection.rule.{key}={one}", "overwrite=true")
    assert select(artifacts, *strategy, f"+selection.rule.{key}={one}") == first
    with pytest.raises(StageError, match=rf"config\.rule\.{key}: .* before, .* now"):
        select(artifacts, *strategy, f"+selection.rule.{key}={other}")
    second = select(artifacts, *strategy, f"+selection.rule.{key}={other}", "overwrite=true")
    assert (second == first) == (key != "strategy")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(("key", "one", "other"), NESTED)
def test_they_have_different_names_in_a_sweep(key: str, one: str, other: str) -> None:
    names = [name_artifacts([f"+selection.rule.{key}={value}"])["select"] for value in (one, other)]
    assert names == [f"subsets/select_120K_tokens_uniform-across_domains,{key}={value}" for value in (one, other)]


@pytest.mark.usefixtures("conf")
def test_a_runtime_setting_of_a_stage_makes_no_other_artifact() -> None:
    plain, other = name_artifacts([]), name_artifacts(["trainer.devices=4", "stages.rate.tokens_per_batch=512"])
    assert plain == other


@pytest.mark.usefixtures("conf")
def test_a_rule_that_moves_makes_no_other_artifact(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uniform = ["stage=[select]", f"paths.artifacts={artifacts}", "num_tokens=1000"]
    run_stage("select", compose("config", uniform), "[1/1]")
    run_stage("select", compose("config", [*uniform, "selection.rule._target_=qurating.selection.select"]), "[1/1]")
    assert "skipped: complete since" in capsys.readouterr().out
