"""Inputs that a stage reads only if they are complete."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from qurating.artifacts.files import write_json
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
