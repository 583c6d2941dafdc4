"""Inputs that a stage reads only if they are complete."""

from pathlib import Path
from typing import Any

import pytest
from artifact_example import build, publish
from omegaconf import DictConfig, OmegaConf
from results_example import run as trained_run

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, write_json
from qurating.pipeline import resolvers
from qurating.pipeline.run import read_by, run_stage
from qurating.runtime.errors import StageError


def config(root: Path, **inputs: Any) -> DictConfig:
    resolvers.register_resolvers()
    given = {"_target_": "builtins.dict", "inputs": inputs, "runtime": []}
    return OmegaConf.create(
        {
            "paths": {"artifacts": str(root)},
            "artifacts": {"select": "subsets/a", "score": None, "rate": "ratings/r", "report_subset": "reports/x"},
            "stages": {"report_subset": given},
            "overwrite": False,
            "verify_gigabytes": 0,
        }
    )


def test_only_the_complete_ones_are_read(tmp_path: Path) -> None:
    optional = "${if_complete:${artifacts.rate},${artifacts.score},${artifacts.select},${artifacts.rate}}"
    made = config(tmp_path, corpus="corpora/c", ratings=optional, nested={"subset": ["subsets/b"]})
    assert read_by(made, "report_subset") == {"corpus": "corpora/c", "nested.subset.0": "subsets/b"}
    write_json(tmp_path / "subsets/a/manifest.json", {})
    (tmp_path / "ratings/r").mkdir(parents=True)  # being made
    assert read_by(made, "report_subset")["ratings.0"] == "subsets/a"
    write_json(tmp_path / "ratings/r/manifest.json", {})
    found = read_by(made, "report_subset")
    assert [found["ratings.0"], found["ratings.1"]] == ["ratings/r", "subsets/a"]
    assert len(found) == 4


def test_one_that_is_named_by_hand_must_be_there(tmp_path: Path) -> None:
    made = config(tmp_path, subset=["subsets/typo"])
    with pytest.raises(StageError, match="typo does not exist yet"):
        run_stage("report_subset", made, "[1/1]")


def test_the_function_gets_the_folders_of_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stage(output: Path, **given: Any) -> dict[str, Any]:
        seen.update(given)
        return {}

    monkeypatch.setattr("hydra.utils.get_method", lambda _: stage)
    run_stage("report_subset", config(tmp_path, one="${if_complete:${artifacts.select}}", two=None), "[1/1]")
    assert seen == {"one": [], "two": None}


def test_every_artifact_of_a_corpus_is_read_and_stale_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def stage(output: Path, **given: Any) -> dict[str, Any]:
        trained_run(tmp_path, "late", 3.0)  # completed while the stage runs
        seen.update(given)
        return {}

    monkeypatch.setattr("hydra.utils.get_method", lambda _: stage)
    for label in ("one", "two", "stale"):
        trained_run(tmp_path, label, 3.0)
    publish(Artifact(tmp_path / "models/lm-stale-shuffle-0", "train_lm", {}, {}, overwrite=True), build)
    run_stage("report_subset", config(tmp_path, evaluations="${every:evaluate,corpora/embedded}"), "[1/1]")
    folders = [tmp_path / f"evaluations/lm-{label}-shuffle-0" for label in ("one", "two")]
    assert seen == {"evaluations": folders}
    recorded = read_json(tmp_path / "reports/x/manifest.json")["inputs"]
    assert [name.split(" (")[0] for name in recorded.values()] == [f"evaluations/{folder.name}" for folder in folders]
    assert "left out: evaluations/lm-stale-shuffle-0 (models/lm-stale-shuffle-0 (" in capsys.readouterr().out
    again = config(tmp_path, evaluations="${every:evaluate,corpora/embedded}")
    with pytest.raises(StageError, match="lm-late-shuffle-0"):  # another page than what is there now would make
        run_stage("report_subset", again, "[1/1]")
