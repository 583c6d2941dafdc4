"""Cached composition gives the same config as Hydra, and notices every edit."""

import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from repository import ROOT

from qurating.pipeline import hydra_internals
from qurating.pipeline.naming import name_artifacts

OVERRIDES = [
    ["scale=smoke", "selection=top_k", "model.optimizer.lr=0.1"],
    ["+experiment=lqs_scorer", "ordering=folding", "~model.schedule.min_lr_rate", "+trainer.max_steps=3"],
    ["judge=released", "judge.paths=x.parquet", "+criterion@criteria.lqs=lqs", "seed='${num_workers}'"],
]


def as_hydra_does(patch: pytest.MonkeyPatch) -> None:
    """Put back what this package replaces in Hydra and OmegaConf."""
    patch.setattr(ConfigLoaderImpl, "load_configuration", hydra_internals._load_configuration)
    patch.setattr(ConfigLoaderImpl, "_apply_overrides_to_config", staticmethod(hydra_internals._apply_overrides))
    patch.setattr(OmegaConf, "load", staticmethod(hydra_internals._load))
    patch.setattr("omegaconf.base.parse", hydra_internals._parse)
    patch.setattr("omegaconf._utils.parse", hydra_internals._parse)
    choices = hydra_internals._choices_for_interpolations
    patch.setattr("hydra._internal.defaults_list._create_interpolation_map", choices)


@pytest.mark.usefixtures("conf")
def test_what_is_composed_and_named_is_the_same() -> None:
    with pytest.MonkeyPatch.context() as patch:
        as_hydra_does(patch)
        expected = [(compose("config", o, return_hydra_config=True), name_artifacts(o)) for o in OVERRIDES]
    hydra_internals._composed.cache_clear()
    for _ in range(2):
        found = [(compose("config", o, return_hydra_config=True), name_artifacts(o)) for o in OVERRIDES]
        for (config, names), (expected_config, expected_names) in zip(found, expected, strict=True):
            assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(expected_config)
            assert names == expected_names
        found[0][0].seed = 7  # a config is the caller's own
        assert OmegaConf.is_struct(found[0][0])


@pytest.mark.usefixtures("conf")
def test_a_list_of_overrides_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []

    def load(*given: Any, **named: Any) -> DictConfig:
        composed.append(given)
        return whole(*given, **named)

    whole = hydra_internals._load_configuration
    monkeypatch.setattr(hydra_internals, "_load_configuration", load)
    hydra_internals._composed.cache_clear()
    lists = [["scale=smoke", f"selection={selection}", "seed=1"] for selection in ("uniform", "top_k")]
    for overrides in lists * 2:
        name_artifacts(overrides)
    # without overrides, with the scale, and with each selection; a value is applied
    assert len(composed) == 4


def test_an_edit_between_two_runs_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"

    def read(text: str) -> int:
        file.write_text(text, encoding="utf-8")
        os.utime(file, ns=(1, 1))  # of the same size and time
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            value: int = compose("config").value
            return value

    assert [read("value: 1"), read("value: 2"), read("value: 3")] == [1, 2, 3]


@pytest.mark.usefixtures("conf")
def test_errors_are_as_before() -> None:
    for _ in range(2):
        with pytest.raises(HydraException, match="Could not find 'selection/nonsense'"):
            compose("config", ["selection=nonsense"])
        with pytest.raises(HydraException, match="Ambiguous value for argument 'seed=1,2'"):
            compose("config", ["seed=1,2"])
        with pytest.raises(HydraException, match=r"Could not override 'selection\.nonsense'"):
            name_artifacts(["selection.nonsense=1"])


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1", True),
        ("~seed", True),
        ("+model.extra=1", True),
        ("model={name: x}", True),
        ("model=tiny", False),
        ("~selection", False),
        ("+criterion@criteria.x=lqs", False),
        ("stage=[select]", False),
        ("seed=1,2", False),
    ],
)
def test_values_and_choices_are_distinguished(override: str, expected: bool) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert hydra_internals.sets_a_value(parsed) == expected
    if expected:  # applied to what is composed without it, it gives what is composed with it
        config = compose("config")
        hydra_internals.apply_value(config, parsed)
        assert config == compose("config", [override])


def test_everything_private_is_in_one_file() -> None:
    files = [ROOT / "run.py", *(ROOT / "qurating").rglob("*.py")]
    private = {file.name for file in files if "hydra._internal" in file.read_text(encoding="utf-8")}
    assert private == {"hydra_internals.py"}
