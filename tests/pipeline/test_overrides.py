"""One list of overrides for several lists of stages and several choices: left out with a word where it does not fit."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig
from repository import ROOT

from qurating.pipeline.naming import STAGES, name_artifacts
from qurating.pipeline.overrides import left_out, with_main_job
from qurating.runtime.errors import StageError


def composed(*overrides: str) -> DictConfig:
    return compose("config", list(overrides), return_hydra_config=True)


def told(given: Sequence[str], *choices: str) -> list[str]:
    return left_out(given, [composed(choice, *given) for choice in choices])


@pytest.mark.usefixtures("conf")
def test_a_setting_is_applied_where_it_exists() -> None:
    given = ["selection.temperature=3"]
    assert composed("selection=sample", *given).selection.temperature == 3
    assert "temperature" not in composed("selection=top_k", *given).selection
    assert told(given, "selection=sample", "selection=top_k", "selection=uniform") == [
        "selection.temperature=3 is left out of 2 of 3 cells: selection=top_k, uniform without such a setting"
    ]
    assert told(given, "selection=sample", "selection=mix") == []


@pytest.mark.usefixtures("conf")
def test_a_setting_that_no_cell_has_is_refused() -> None:
    with pytest.raises(StageError, match=r"selection.temperature is a setting of .*selection=sample.* is uniform, top"):
        told(["selection.temperature=3"], "selection=uniform", "selection=top_k")
    with pytest.raises(StageError, match=r"judge.max_cost_usd is a setting of .*judge=openai.* judge is simulated"):
        told(["judge.max_cost_usd=3"], "judge=simulated")


@pytest.mark.usefixtures("conf")
def test_settings_of_a_stage_that_is_not_chosen_still_name_its_artifact() -> None:
    given = ["stages.rate.precision=bf16-true", "stages.rate.shard=0"]
    config = composed("stage=[select]", *given)
    assert list(config.stages) == ["select"]
    assert told(given, "stage=[select]") == [
        f"{override}: the stage rate is not chosen, so this changes the name of its artifact at most"
        for override in given
    ]
    # so what one command rated, another one selects by
    chosen, other = (name_artifacts([f"stage=[{s}]", "selection=top_k", *given]) for s in ("rate", "select"))
    assert chosen == other
    assert str(other["select"]).endswith(",stages.rate.precision=bf16-true")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    "override",
    ["selection.temprature=3", "stages.rate.shrad=0", "stages.rat.shard=0", "paths.artifcats=x", "selection=[a].b"],
)
def test_what_no_choice_has_is_a_typo(override: str) -> None:
    with pytest.raises(HydraException):
        composed("stage=[select]", override)
    with pytest.raises(HydraException):
        name_artifacts(["stage=[select]", override])


@pytest.mark.usefixtures("conf")
def test_nested_settings_and_networks_without_them() -> None:
    given = ["rater.network.hidden_size=64", "rater.lora.r=8", "criteria.lqs.question=x"]
    assert composed("rater=tiny", given[0]).rater.network.hidden_size == 64
    assert "hidden_size" not in composed("rater=sheared_llama_1.3b", given[0]).rater.network
    assert composed("rater=sheared_llama_1.3b_lora", given[1]).rater.lora.r == 8
    assert composed("rater=tiny", given[1]).rater.lora is None
    with pytest.raises(HydraException):
        composed(given[2])  # criteria have questions, and this one has none


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("selection", ["sample", "top_k"])
def test_names_see_the_same_overrides_as_the_run(selection: str) -> None:
    plain = name_artifacts([f"selection={selection}"])
    found = name_artifacts([f"selection={selection}", "selection.temperature=3", "judge.max_cost_usd=1"])
    changed = {stage for stage in STAGES if plain[stage] != found[stage]}
    expected = {
        "select",
        "check_subset",
        "report_subset",
        "order",
        "train_lm",
        "evaluate",
        "evaluate_tasks",
    }
    assert changed == (expected if selection == "sample" else set())


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    lines = "\n".join(json.dumps({"text": str(i), "score": i}) for i in range(9))
    (folder / "x.jsonl").write_text(lines + "\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "run.py"), "stage=[order_lines]", "stages.order_lines.paths=x.jsonl"]
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )


@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_a_sweep_says_once_what_it_leaves_out(tmp_path: Path, launcher: str) -> None:
    sweep = ["-m", "selection=sample,top_k", "replicate=0,1", f"hydra/launcher={launcher}"]
    given = ["selection.temperature=3", "stages.order_lines.num_folds=2", "stages.rate.shard=0"]
    found = run(tmp_path, "hydra.sweep.dir=sweep", *sweep, *given)
    assert found.returncode == 0, found.stderr
    lines = [line for line in found.stdout.splitlines() if line.startswith("warning: ")]
    assert lines == [
        "warning: selection.temperature=3 is left out of 2 of 4 cells: selection=top_k without such a setting",
        "warning: stages.rate.shard=0: the stage rate is not chosen, so this changes the name of its artifact at most",
    ]
    made = {file.parent.name for file in tmp_path.glob("artifacts/lines/[!.]*/manifest.json")}
    assert made == {"x,order_lines.num_folds=2", "x,order_lines.num_folds=2,replicate=1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "selection=uniform,top_k", "selection.temperature=3"], "selection.temperature is a setting of"),
        (["hydra.mode=RUN", "selection=top_k", "selection.temperature=3"], "selection.temperature is a setting of"),
        (["-m", "selection=sample,mix", "selection.temprature=3"], "(did you mean 'temperature'?)"),
        (["stages.rate.shrad=0"], "stages.rate has no setting 'shrad'; "),
    ],
)
def test_a_setting_without_a_place_ends_the_command(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = run(tmp_path, *arguments)
    assert found.returncode == 1
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "artifacts").exists()


def test_an_experiment_may_do_without_the_sweep_of_the_main_job(tmp_path: Path) -> None:
    """That is over selections; each row of table_1 has its own."""
    found = run(tmp_path, "-m", "+experiment=table_1", "method=uniform,mix")
    assert found.returncode == 0, found.stderr
    assert "Launching 2 jobs locally" in found.stdout


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ([], True),
        (["selection=top_k"], True),
        (["selection=top_k", "-m"], False),
        (["+experiment=table_1"], False),
        (["++experiment=table_1"], False),
        (["experiment=table_1"], False),
        (["--config-name=other"], False),
        (["model.name=+experiment=x"], True),
    ],
)
def test_the_main_job_is_run_where_no_experiment_is_named(words: list[str], added: bool) -> None:
    assert with_main_job(words) == (["+experiment=quickstart", *words] if added else words)
