"""All uses of Hydra and OmegaConf beyond their documented interfaces.

Checked with Hydra 1.3.8 and OmegaConf 2.3.1 (pyproject.toml bounds both).
"""

import functools
import io
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.pipeline.cells.launchers import LocalLauncher, SlurmLauncher
from qurating.pipeline.setting_types import problem

_load_configuration = ConfigLoaderImpl.load_configuration
_load = OmegaConf.load
_parse = omegaconf.base.parse
_choices_for_interpolations = defaults_list._create_interpolation_map
_apply_overrides = ConfigLoaderImpl._apply_overrides_to_config
_is_plugin = Plugins.is_in_toplevel_plugins_module
_SETS = {"stages": "stage", "criteria": "criterion"}  # keys that hold several choices of a group, by their names
_files: dict[tuple[int, ...], bytes] = {}


def work_once() -> None:
    """Cache in Hydra: read each file, parse each interpolation and compose each list of overrides only once.

    Hydra composes each cell of a sweep twice, and naming.py composes it in steps that cells share. An edited file is
    read again. Composed configs are cached per repository of the config loader, and each run has its own.
    """
    ConfigLoaderImpl.load_configuration = _load_configuration_once  # type: ignore[assignment]
    OmegaConf.load = staticmethod(_load_once)  # type: ignore[assignment]
    omegaconf.base.parse = omegaconf._utils.parse = functools.lru_cache(maxsize=4096)(_parse)
    defaults_list._create_interpolation_map = _choices_where_needed  # type: ignore[assignment]


def leave_out_what_choices_lack() -> None:
    """Compose each config without the overrides that it `lacks`, instead of refusing them, and check the others' types.

    An override that is left out is not an error, one of another type than what it replaces is.
    """
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_apply_where_present)  # type: ignore[assignment]


def admit_launchers() -> None:
    """Let `hydra.launcher._target_` name the launchers of this package: Hydra takes those of `hydra_plugins` alone."""
    ours = {f"{launcher.__module__}.{launcher.__name__}": launcher for launcher in (LocalLauncher, SlurmLauncher)}
    Plugins.is_in_toplevel_plugins_module = staticmethod(  # type: ignore[method-assign,assignment]
        lambda name: name in ours or _is_plugin(name)
    )
    for launcher in ours.values():
        Plugins.instance().register(launcher)


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


@functools.lru_cache(maxsize=256)
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


def _choices_where_needed(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
    """The choices that interpolations in a list of defaults refer to; few lists have any, and this takes a quarter of
    the time of composing."""
    if any(default.is_interpolation() for default in defaults):
        return _choices_for_interpolations(overrides, defaults, self_added)
    return OmegaConf.create({})


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


def _apply_where_present(overrides: list[Override], config: DictConfig) -> None:
    for override in overrides:
        if not lacks(config, override):
            _check_type(config, override)
            _apply_overrides([override], config)


def _check_type(config: DictConfig, override: Override) -> None:
    if override.type != OverrideType.CHANGE or override.is_sweep_override() or override.is_hydra_override():
        return
    try:
        now = OmegaConf.select(config, override.key_or_group)
        now = OmegaConf.to_container(now) if OmegaConf.is_config(now) else now
    except OmegaConfBaseException:
        return  # it refers to something that is missing
    if wrong := problem(override.key_or_group, now, override.value()):
        raise ConfigCompositionException(wrong)


def lacks(config: DictConfig, override: Override) -> bool:
    """Whether an override sets a value of a setting that this config lacks because of its choices.

    False for a setting that no choice has: an unknown one. A stage that is not chosen is a choice that is lacking.
    """
    key = override.key_or_group
    sets = override.type == OverrideType.CHANGE and not override.is_hydra_override() and "." in key
    return sets and not _has(config, key.split(".")) and bool(choices_with(key))


def choices_with(key: str) -> list[str]:
    """The choices whose files in conf/ have a setting: `selection=sample`; `stage=rate` for a setting of that stage."""
    files, path = _files_of(key)
    return [choice for choice, file in files.items() if _has(file, path)]


def settings_of_choices(key: str) -> set[str]:
    """The settings under a key in any file of its group; none for a key outside of the groups."""
    files, path = _files_of(key)
    found = (OmegaConf.select(file, ".".join(path)) if path else file for file in files.values())
    return {str(name) for node in found if isinstance(node, DictConfig) for name in node}


def _files_of(key: str) -> tuple[dict[str, DictConfig], list[str]]:
    """The files in conf/ that may have a setting, by choice, and the path of the setting in them."""
    group, *path = key.split(".")
    repository = _loader().repository
    if group in _SETS:  # a choice is a key
        group, options, path = _SETS[group], path[:1], path[1:]
    else:
        options = repository.get_group_options(group) if group else []
    files = {f"{group}={option}": repository.load_config(f"{group}/{option}") for option in options}
    return {choice: file.config for choice, file in files.items() if file is not None}, path


def _has(node: Any, path: list[str]) -> bool:
    """Whether a config has a setting, as far as is written: an interpolation may have anything."""
    for part in path:
        if not isinstance(node, DictConfig) or node._is_interpolation():
            return not node._is_none()
        if part not in node.keys():  # noqa: SIM118  (`in node` is false for a missing value)
            return False
        node = node._get_node(part)
    return True


def cells(config: DictConfig) -> Iterator[DictConfig]:
    """The composed config of each cell of a sweep, as Hydra's basic sweeper expands it."""
    return (_loader().load_sweep_config(config, cell) for cell in overrides_of_cells(config))


def overrides_of_cells(config: DictConfig) -> list[list[str]]:
    """The overrides of each cell of a sweep, as Hydra's basic sweeper expands it."""
    params = config.hydra.sweeper.params or {}
    given = [*(f"{key}={values}" for key, values in params.items() if values != ""), *config.hydra.overrides.task]
    parsed = OverridesParser.create(config_loader=_loader()).parse_overrides(given)
    batch: list[list[str]]
    (batch,) = BasicSweeper.split_arguments(parsed, None)
    return batch


def error_of(job: JobReturn) -> BaseException:
    """What a cell that failed has raised."""
    error: BaseException = job._return_value
    return error


def _loader() -> Any:
    return GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
