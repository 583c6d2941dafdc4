"""What several tests need: a place to compose configs, and nothing else."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from judge_fixtures import real_corpus
from repository import ROOT

from qurating.pipeline import hydra_internals, resolvers

# the machine has few cores, and many small tests: threads would only get in each other's way
torch.set_num_threads(1)
# no deadlines: a machine under load, or one that compiles meanwhile, is no failure
hypothesis_settings.register_profile("qurating", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("qurating")
# compose as run.py does, each list of overrides only once
resolvers.register_resolvers()
hydra_internals.work_once()
hydra_internals.leave_out_what_choices_lack()


@functools.cache
def _hydra(plugins: Plugins) -> Hydra:
    """Hydra on the folder of the configuration: all tests of a process share what is composed.

    Only while they have the same plugins: a test of the end of a sweep loads them again, with other classes in them.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        found = GlobalHydra.instance().hydra
    assert found is not None
    return found


@pytest.fixture
def conf() -> Iterator[Path]:
    """The folder of the configuration, with Hydra initialised on it."""
    hydra = _hydra(Plugins.instance())
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    yield ROOT / "conf"
    GlobalHydra.instance().clear()


@pytest.fixture
def any_type(conf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compose overrides of any type, as files may set them: the checks of the composed config stand alone."""
    monkeypatch.setattr(hydra_internals, "_check_type", lambda config, override: None)
    hydra_internals._composed.cache_clear()
    yield
    hydra_internals._composed.cache_clear()


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
