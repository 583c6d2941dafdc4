"""Types of settings, by what an override replaces and by what a function takes."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from hydra.errors import HydraException
from repository import ROOT

from qurating.pipeline import checks
from qurating.pipeline.setting_types import check_arguments, parameters, problem
from qurating.runtime.errors import StageError


@pytest.mark.parametrize(
    ("now", "fitting", "unfitting"),
    [
        (True, [False, None, "${x}"], ["perhaps", "true", 1, 0.0, [True], {}]),
        (3, [4, 2.5, 1e6, None, "${seed}"], ["abc", "3", "", True, [3], {"a": 3}, math.nan, math.inf, -math.inf]),
        (0.5, [1, 0.1, None], ["abc", False, math.nan, math.inf]),
        ({"a": 1}, [{"b": 2}, None], [5, "x", True, [1]]),
        ([1], [[2], "a", None], [5, True, {"a": 1}]),
        ("text", ["x", 5, True, [1], {"a": 1}], []),
        (None, ["x", 5, True, [1], {"a": 1}], []),
    ],
)
def test_an_override_has_the_type_of_what_it_replaces(now: Any, fitting: list[Any], unfitting: list[Any]) -> None:
    for given in fitting:
        assert problem("selection.x", now, given) is None, given
    for given in unfitting:
        assert str(problem("selection.x", now, given)).startswith("selection.x is "), given
    assert problem("selection.temperature", 2.0, math.inf) is None
    assert problem("trainer.devices", 1, "auto") is problem("trainer.devices", 1, [0, 1]) is None


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["selection=top_r", "selection.fraction=abc"], "selection.fraction is a number, not 'abc'"),
        (["selection=threshold", "selection.minimum=abc"], "selection.minimum is a number, not 'abc'"),
        (["selection.by_domain=perhaps"], "selection.by_domain is true or false, not 'perhaps'"),
        (["judge.timeout_seconds=abc"], "judge.timeout_seconds is a number, not 'abc'"),
        (["num_workers=many"], "num_workers is a number, not 'many'"),
        (["model.optimizer.lr=fast"], "model.optimizer.lr is a number, not 'fast'"),
        (["seed=inf"], "seed is a finite number, not inf"),
        (["num_tokens=inf"], "num_tokens is a finite number, not inf"),
        (["overwrite=yes"], "overwrite is true or false, not 'yes'"),
        (["model.network=5"], "model.network is a mapping: set model.network.<key>=…, not 5"),
        (["stages.train_lm.seed=x"], "stages.train_lm.seed is a number, not 'x'"),
    ],
)
def test_overrides_of_another_type_do_not_compose(overrides: list[str], message: str) -> None:
    with pytest.raises(HydraException) as raised:
        compose("config", overrides)
    assert str(raised.value) == message


@pytest.mark.usefixtures("conf")
def test_every_value_in_the_files_may_be_written_as_an_override() -> None:
    """The check refuses no value that some choice of the same group has: types may differ between choices."""
    for file in sorted((ROOT / "conf").glob("*/*.yaml")):
        group = file.parent.name
        if group in {"stage", "criterion", "experiment", "scale"}:
            continue
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        plain = {
            key: value
            for key, value in content.items()
            if isinstance(value, bool | int | float | list | dict) and key != "defaults"
        }
        for other in sorted(file.parent.glob("*.yaml")):
            known = yaml.safe_load(other.read_text(encoding="utf-8"))
            for key, value in plain.items():
                now = None if "${" in str(known.get(key)) else known.get(key)
                assert problem(f"{group}.{key}", now, value) is None, (file, other, key)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage=[rate]", "stages.rate.num_shards=x"], "stages.rate.num_shards is a whole number or null, not 'x'"),
        (
            ["stage=[measure_perplexity]", "perplexity.max_tokens=many"],
            "perplexity.max_tokens is a whole number or null, not 'many'",
        ),
        (["rater.max_tokens=null"], "rater.max_tokens is a whole number, not null"),
        (["model.batch_size_sequences=2.5"], "model.batch_size_sequences is a whole number, not 2.5"),
        (["selection=sample", "selection.temperature=null"], "selection.temperature is a number, not null"),
        (["corpus.reader.min_words=[1]"], "corpus.reader.min_words is a whole number, not [1]"),
        (
            ["stage=[prepare_corpus]", "corpus=hub", "corpus.dataset=x", "corpus.max_documents=all"],
            "corpus.max_documents is",
        ),
        (["selection.by_domain=perhaps"], "selection.by_domain is true or false, not 'perhaps'"),
    ],
)
@pytest.mark.usefixtures("any_type")
def test_an_argument_has_the_type_of_its_parameter(overrides: list[str], message: str) -> None:
    config = compose("config", overrides)
    with pytest.raises(StageError) as raised:
        checks.check(config, dict.fromkeys(map(str, config.artifacts), ""))
    assert str(raised.value).startswith(message)


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    "overrides",
    [
        ["num_tokens=1e6"],
        ["selection=sample", "selection.temperature=inf"],
        ["rater.gradient_clip_norm=null"],
        ["selection=top_r", "selection.fraction=1"],
        ["selection.label=2024"],
        ["corpus=jsonl", "corpus.paths=[a.jsonl,b.jsonl]"],
    ],
)
def test_what_fits_passes(overrides: list[str]) -> None:
    for given in compose("config", overrides).stages.items():
        check_arguments(given[1], f"stages.{given[0]}")


def test_parameters_are_read_from_the_source() -> None:
    from qurating.corpus import readers
    from qurating.selection import rules

    assert parameters(rules.__name__, "top_r")["fraction"] == "float"
    assert parameters(readers.__name__, "Jsonl")["on_bad_row"] == "str"  # of its base
    assert parameters(readers.__name__, "Hub")["max_documents"] == "int | None"
    with pytest.raises(StageError, match="has no function nothing"):
        parameters(rules.__name__, "nothing")


def test_the_command_ends_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "run.py"), "-m", "selection=top_r,uniform", "selection.fraction=abc"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert found.returncode == 1
    assert "selection.fraction is a number, not 'abc'" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "artifacts").exists()
