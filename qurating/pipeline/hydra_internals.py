"""All uses of Hydra and OmegaConf beyond their documented interfaces.

Checked with Hydra 1.3.8 and OmegaConf 2.3.1 (pyproject.toml bounds both).
"""

import functools
import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

_load_configuration = ConfigLoaderImpl.load_configuration
_load = OmegaConf.load
_parse = omegaconf.base.parse
_files: dict[tuple[int, ...], bytes] = {}


def work_once() -> None:
    """Cache in Hydra: read each file, parse each interpolation and compose each list of overrides only once.

    Hydra composes each cell of a sweep twice, and naming.py composes it in steps that cells share. An edited file is
    read again. Composed configs are cached per repository of the config loader, and each run has its own.
    """
    ConfigLoaderImpl.load_configuration = _load_configuration_once  # type: ignore[assignment]
    OmegaConf.load = staticmethod(_load_once)  # type: ignore[assignment]
    omegaconf.base.parse = omegaconf._utils.parse = functools.lru_cache(maxsize=4096)(_parse)


# Both caches hold pickles: loading one takes a sixth of the time of copying the config.


def _load_configuration_once(
    loader: ConfigLoaderImpl,
    config_name: str | None,
    overrides: list[str],
    run_mode: RunMode,
    from_shell: bool = True,
    validate_sweep_overrides: bool = True,
) -> DictConfig:
    if validate_sweep_overrides:  # outside the cache: it does not change what is composed
        loader.validate_sweep_overrides_legal(OverridesParser.create().parse_overrides(overrides), run_mode, from_shell)
    composed = _composed(loader, loader.repository, os.getcwd(), config_name, tuple(overrides), run_mode)
    config: DictConfig = pickle.loads(composed)
    return config


@functools.lru_cache(maxsize=64)
def _composed(
    loader: ConfigLoaderImpl,
    repository: ConfigRepository,
    folder: str,
    config_name: str | None,
    overrides: tuple[str, ...],
    run_mode: RunMode,
) -> bytes:
    config = _load_configuration(loader, config_name, list(overrides), run_mode, validate_sweep_overrides=False)
    return pickle.dumps(config)


def _load_once(file: Any) -> Any:
    if not isinstance(file, io.TextIOWrapper):
        return _load(file)
    stat = os.fstat(file.fileno())
    version = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    if version not in _files:
        _files[version] = pickle.dumps(_load(file))
    return pickle.loads(_files[version])


def compose_from_copy(folder: Path) -> None:
    """Copy the config folder to `folder`, and compose from the copy from now on."""
    loader = _loader()
    for element in loader.config_search_path.get_path():
        if element.provider == "main":
            shutil.copytree(element.path.removeprefix("file://"), folder, dirs_exist_ok=True)
            element.path = f"file://{folder}"
    loader.repository = ConfigRepository(config_search_path=loader.config_search_path)


def sets_a_value(override: Override) -> bool:
    """Whether an override sets, adds or deletes a value after composing; otherwise it chooses what is composed."""
    is_group: bool = _loader().repository.group_exists(override.key_or_group)
    return not override.is_sweep_override() and (not is_group or isinstance(override.value(), dict))


def apply_value(config: DictConfig, override: Override) -> None:
    """Apply an override of a value to a composed config as composing would, with the same errors."""
    ConfigLoaderImpl._apply_overrides_to_config([override], config)


def _loader() -> Any:
    return GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
