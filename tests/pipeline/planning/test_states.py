"""States of artifacts in a plan, against what the run does with the same folder."""

import shutil
from pathlib import Path

import pytest
from hydra import compose
from plan_example import artifacts_with_corpus, by_stage, listing, plan, states

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building
from qurating.pipeline import run
from qurating.runtime.errors import StageError

pytestmark = pytest.mark.usefixtures("conf")
STAGES = ["stage=[select,order]", "num_tokens=300"]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return artifacts_with_corpus(tmp_path)


def planned(root: Path, *overrides: str) -> dict[str, str]:
    before = listing(root)
    found = states(plan(*STAGES, f"paths.artifacts={root}", "selection=uniform", *overrides))
    assert listing(root) == before  # a plan changes nothing
    return found


def make(root: Path, *overrides: str) -> None:
    """Run the stages as the command does."""
    given = [*STAGES, "selection=uniform", *overrides]
    config = compose("config", [*given, f"paths.artifacts={root}"])
    _, stages, _ = run.settle(config, given)
    for stage in stages:
        run.run_stage(stage, config, "[1/1]")


def test_what_is_there_is_complete_and_the_rest_is_built(artifacts: Path) -> None:
    select, order = (f"{kind}/select_300_tokens_uniform-across_domains" for kind in ("subsets", "orders"))
    assert planned(artifacts) == {select: "build", order: "build"}
    make(artifacts)
    assert planned(artifacts) == {select: "complete", order: "complete"}
    shutil.rmtree(artifacts / order)
    assert planned(artifacts) == {select: "complete", order: "build"}


def test_other_settings_under_the_same_name_are_refused_as_the_run_refuses_them(artifacts: Path) -> None:
    mine = ["artifacts.select=subsets/mine", "artifacts.order=orders/mine"]
    make(artifacts, *mine)
    other = [*mine, "selection.by_domain=true"]
    found = plan(*STAGES, f"paths.artifacts={artifacts}", "selection=uniform", *other)
    assert states(found) == {"subsets/mine": "refused", "orders/mine": "blocked"}
    with pytest.raises(StageError) as refused:
        make(artifacts, *other)
    assert by_stage(found)["select"][0]["why"] == str(refused.value)
    assert by_stage(found)["order"][0]["why"] == "not reached: subsets/mine"
    replaced = planned(artifacts, *other, "overwrite=true")
    assert replaced == {"subsets/mine": "replace", "orders/mine": "reuse"}


def test_a_missing_input_is_refused_with_the_runs_words(artifacts: Path) -> None:
    shutil.rmtree(artifacts / "corpora")
    found = plan(*STAGES, f"paths.artifacts={artifacts}", "selection=uniform")
    assert set(states(found).values()) == {"refused", "blocked"}
    assert "does not exist yet: add the stage that makes it" in found["artifacts"][0]["why"]


def test_what_another_cell_reaches_is_not_blocked(artifacts: Path) -> None:
    """One cell of two is refused; what the other one builds is in the plan, and counted once."""
    (artifacts / "scored.jsonl").write_text('{"text": "a", "score": 1}\n', encoding="utf-8")
    lines = ["stage=[select,order_lines]", f"stages.order_lines.paths={artifacts}/scored.jsonl", "num_tokens=300"]
    found = plan(*lines, f"paths.artifacts={artifacts}", "selection=top_k,uniform")
    assert [each["state"] for each in by_stage(found)["select"]] == ["refused", "build"]
    (ordered,) = by_stage(found)["order_lines"]
    assert (ordered["state"], ordered["cells"]) == ("build", [0, 1])


def test_an_input_that_is_made_again_leaves_open_what_is_made_from_it(artifacts: Path) -> None:
    make(artifacts)
    shutil.rmtree(artifacts / "subsets")
    found = plan(*STAGES, f"paths.artifacts={artifacts}", "selection=uniform")
    assert states(found)["orders/select_300_tokens_uniform-across_domains"] == "reuse"
    assert "comes out as before" in by_stage(found)["order"][0]["why"]
    make(artifacts)  # it comes out as before, so that the run skips the order
    assert set(planned(artifacts).values()) == {"complete"}


def test_an_interrupted_attempt_goes_on(artifacts: Path) -> None:
    make(artifacts)
    folder = artifacts / "subsets" / "select_300_tokens_uniform-across_domains"
    config = compose("config", [*STAGES, f"paths.artifacts={artifacts}"])
    run.settle(config, [*STAGES, "selection=uniform"])
    asked = run.requested("select", config, {"corpora/embedded": run.manifest(artifacts / "corpora/embedded")})
    shutil.rmtree(folder)

    def interrupted() -> None:
        with building(asked) as work:
            (work.folder / "subset.parquet").write_text("the first half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert planned(artifacts)["subsets/select_300_tokens_uniform-across_domains"] == "continue"


def test_a_damaged_artifact_is_refused(artifacts: Path) -> None:
    make(artifacts)
    (artifacts / "subsets/select_300_tokens_uniform-across_domains/subset.parquet").unlink()
    assert planned(artifacts)["subsets/select_300_tokens_uniform-across_domains"] == "refused"
    assert planned(artifacts, "overwrite=true")["subsets/select_300_tokens_uniform-across_domains"] == "replace"


def test_cells_share_what_does_not_differ(artifacts: Path) -> None:
    found = plan(*STAGES, f"paths.artifacts={artifacts}", "selection=uniform", "ordering=shuffle", "replicate=0,1,2")
    assert found["cells"] == 3
    assert [each["cells"] for each in by_stage(found)["select"]] == [[0], [1], [2]]
    found = plan(*STAGES, f"paths.artifacts={artifacts}", "selection=uniform", "ordering=shuffle,folding")
    assert [each["cells"] for each in by_stage(found)["select"]] == [[0, 1]]


def test_the_comparison_is_complete_when_all_is(artifacts: Path) -> None:
    arguments = ["stage=[select,analyse]", "num_tokens=300", f"paths.artifacts={artifacts}", "selection=uniform"]
    (comparison,) = by_stage(plan(*arguments))["analyse"]
    assert comparison["state"] == "build"
    make(artifacts)
    (comparison,) = by_stage(plan(*arguments))["analyse"]
    assert comparison["name"].startswith("analyses/1_cells-")
    assert comparison["state"] == "build"
    with building(Artifact(artifacts / comparison["name"], "analyse", {}, {})) as work:
        work.counts = {}
    (comparison,) = by_stage(plan(*arguments))["analyse"]
    assert comparison["state"] == "refused"  # another comparison has its name
