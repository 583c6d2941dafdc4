"""Checks of a composed config, before anything is loaded."""

import functools
from collections.abc import Mapping
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts.identity import leaves
from qurating.pipeline.help import alternatives
from qurating.pipeline.safe_names import ALLOWED, is_safe
from qurating.pipeline.setting_types import check_arguments, parameters
from qurating.pipeline.sources import given_files
from qurating.runtime.errors import StageError
from qurating.training.redaction import is_secret

_NO_ARGUMENTS = {"_target_", "inputs", "fetches", "runtime"}  # of a stage; each of `inputs` is an argument


def check(config: DictConfig, names: Mapping[str, str]) -> None:
    """Refuse a composed config with unknown settings, missing or invalid values, or a criterion without ratings.

    Args:
        names: the name of each stage's artifact, by stage.

    Raises:
        StageError: says what is wrong, and which alternatives exist.
    """
    known = _known_settings(tuple(names))
    for key in config:
        if key not in known:
            raise StageError(f"unknown setting {str(key)!r}; {alternatives(str(key), known)}")
    unknown_names = [stage for stage in config.artifacts if stage not in names]
    if unknown_names:
        raise StageError(
            f"artifacts.{unknown_names[0]}: unknown stage; {alternatives(str(unknown_names[0]), set(names))}"
        )
    if str(config.paths.artifacts).startswith("~"):
        raise StageError(
            f"paths.artifacts={config.paths.artifacts} would make a folder called ~ here: write it out, as in "
            'paths.artifacts="$HOME/artifacts"'
        )
    if "stages" not in config:
        raise StageError("no stage is chosen: set stage=[prepare_corpus,...]")
    for stage, artifact in names.items():
        if artifact:
            kind, _, name = artifact.partition("/")
            if not (is_safe(kind) and is_safe(name, also="[]")):
                raise StageError(
                    f"artifacts.{stage}={artifact}: a name has the form <kind>/<name>, under paths.artifacts; {ALLOWED}"
                )
    raw: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    for group, settings in raw.items():
        given = settings.get("name") if isinstance(settings, dict) else None
        # a name that other settings make is made safe by itself
        if isinstance(given, str) and given != "???" and "${" not in given and not is_safe(given):
            raise StageError(f"{group}.name={given}: it becomes a part of the names of artifacts; {ALLOWED}")
    missing = sorted(key for key, value in leaves(raw).items() if value == "???")
    if missing:
        raise StageError("not set yet: " + ", ".join(f"{key}=…" for key in missing))
    for stage in config.artifacts:
        try:
            config.artifacts[stage]
        except OmegaConfBaseException as error:  # otherwise the stage would seem to have no name, and be skipped
            raise StageError(f"artifacts.{stage}: {str(error).splitlines()[0]}") from error
    for key, least in {"seed": 0, "replicate": 0, "num_tokens": 1}.items():
        value = config[key]
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        if not is_whole or value < least:
            raise StageError(f"{key} is a whole number of at least {least}, not {value!r}")
    for stage, given in config.stages.items():
        _check_signature(str(stage), given)
        check_arguments(given, f"stages.{stage}")
    for name, criterion in config.criteria.items():
        if "ratings" in criterion:
            raise StageError(
                f"no judge can judge {name}, which is computed: remove it from criteria, and select by it with "
                f"criterion={name}"
            )
    if config.criterion.name not in config.criteria and "ratings" not in config.criterion:
        name = config.criterion.name
        raise StageError(
            f"{name!r} is not one of the judged criteria ({', '.join(map(str, config.criteria))}): "
            f"add it with +criterion@criteria.{name}={name}"
        )
    if "ratings" in config.criterion and config.ratings is None:
        raise StageError(
            f"the criterion {config.criterion.name} is a column of ratings of your own: name their files, "
            "ratings=scores.parquet, or an artifact, ratings=ratings/mine"
        )
    for group in ("selection", "ordering"):
        given = config[group].get("ratings")
        if given is not None and given_files(given) is not None:
            raise StageError(
                f"{group}.ratings is the name of an artifact, not {given}: files are given by ratings=FILES"
            )
    is_judged = "judge" in config.stages and names["judge"] is not None
    if is_judged and config.judge.max_snippet_tokens > config.rater.max_tokens:
        raise StageError(
            f"judge.max_snippet_tokens={config.judge.max_snippet_tokens} is more than the rater reads: "
            f"lower it, or raise rater.max_tokens={config.rater.max_tokens}"
        )
    if "@" in str(config.judge.base_url):
        raise StageError(
            "judge.base_url has a user or a key in it, which manifests would show: set judge.api_key_variable instead"
        )
    options = leaves(raw["judge"].get("request_options"))
    secrets = [key for key, value in options.items() if value and any(map(is_secret, key.split(".")))]
    if secrets:
        raise StageError(
            f"judge.request_options.{secrets[0]} looks like a secret, which manifests and names of artifacts would "
            "show: set judge.api_key_variable to the name of an environment variable instead"
        )


@functools.cache
def _known_settings(stages: tuple[str, ...]) -> set[str]:
    return {str(key) for key in compose("config", [f"stage=[{','.join(stages)}]"])} | {"experiment"}  # as in naming.py


def _check_signature(stage: str, given: DictConfig) -> None:
    """Compare the settings of a stage with the parameters of its function, without importing it (it may load torch)."""
    takes = parameters(*given["_target_"].rsplit(".", 1)).keys()
    settings = {str(key) for key in given} - _NO_ARGUMENTS | {str(key) for key in given.inputs}
    unknown, absent = settings - takes, takes - settings - {"output"}
    if unknown:
        key = sorted(unknown)[0]
        raise StageError(f"stages.{stage} has no setting {key!r}; {alternatives(key, takes - {'output'})}")
    if absent:
        raise StageError(f"conf/stage/{stage}.yaml does not set {', '.join(sorted(absent))}")
