"""What several tests need: a place to compose configs, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from judge_fixtures import real_corpus
from omegaconf import OmegaConf
from repository import ROOT

from qurating.pipeline import hydra_internals, resolvers

# the machine has few cores, and many small tests: threads would only get in each other's way
torch.set_num_threads(1)
# no deadlines: a machine under load, or one that compiles meanwhile, is no failure
hypothesis_settings.register_profile("qurating", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("qurating")


@pytest.fixture
def conf() -> Iterator[Path]:
    """The folder of the configuration, with Hydra initialised on it."""
    resolvers.register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield ROOT / "conf"


@pytest.fixture
def working_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose with the caches of run.py until the end of the test."""
    # so that what work_once() replaces is put back
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", hydra_internals._load_configuration)
    monkeypatch.setattr(OmegaConf, "load", staticmethod(hydra_internals._load))
    monkeypatch.setattr("omegaconf.base.parse", hydra_internals._parse)
    monkeypatch.setattr("omegaconf._utils.parse", hydra_internals._parse)
    choices = hydra_internals._choices_for_interpolations
    monkeypatch.setattr("hydra._internal.defaults_list._create_interpolation_map", choices)
    hydra_internals.work_once()


@pytest.fixture
def composing_as_run(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose as run.py does until the end of the test: what choices lack is left out, types are checked."""
    strict = staticmethod(hydra_internals._apply_overrides)
    monkeypatch.setattr(ConfigLoaderImpl, "_apply_overrides_to_config", strict)  # so that it is put back
    hydra_internals.leave_out_what_choices_lack()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real text in shards, which judges are asked about; a test file with another corpus has its own fixture."""
    return real_corpus(tmp_path_factory.mktemp("corpus") / "c")


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages have figures without drawing them, which takes most of the time of a small judge."""
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
