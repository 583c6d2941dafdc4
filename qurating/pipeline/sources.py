"""What settings name outside the folder of artifacts — files, models, tokenizers, data sets — and its fingerprint.

`fetches` in conf/stage/<stage>.yaml lists these settings. Models and data sets become part of the identity as
`sources`; files do by the resolver `listing` next to the setting, which makes the same fingerprint.
"""

import functools
import glob
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qurating.artifacts.identity import COMMIT, UNKNOWN
from qurating.artifacts.manifest import read_manifest
from qurating.corpus.files import ROOT, in_repository, named_files, with_names
from qurating.runtime import hub_data
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import commit, is_local, without_pin

_ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2", ".jsonl.xz", ".json")
_OTHER_ENDINGS = (".csv", ".tsv", ".txt", ".gz", ".zst", ".bz2", ".xz", ".arrow", ".feather")  # that nothing here reads
_ARTIFACT = re.compile(r"[\w+][^/*?]*/[^/*?]+")
MAX_READ_BYTES = 64 * 2**20  # up to this total size, files are identified by content


def listing(paths: str | Sequence[str] | None) -> str | None:
    """The fingerprint of the files that paths and patterns name, found as readers find them; null for null.

    `absent` if the files are missing, which `preflight.check_files` reports.
    """
    if paths is None:
        return None
    patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    try:
        return _of_files(named_files(patterns))
    except StageError:
        return "absent"


def given_files(value: Any) -> str | list[str] | None:
    """The paths of files in a value that may also name an artifact; None if it does.

    `<kind>/<name>` is an artifact, unless it has the ending of a file, or characters of a pattern. All else is a path
    (a folder of that form is written `./<kind>/<name>`). A folder stands for the Parquet files in it and below, or
    without any for its JSON lines.
    """
    if value is None:
        return None
    given = [str(path) for path in (value if OmegaConf.is_list(value) or isinstance(value, list) else [value])]
    if len(given) == 1 and _ARTIFACT.fullmatch(given[0]) and not given[0].endswith((*_ENDINGS, *_OTHER_ENDINGS)):
        return None
    found = [pattern for path in given for pattern in _within(path)]
    return found[0] if len(found) == 1 else found


def _within(path: str) -> list[str]:
    """The patterns of the files of ratings in a folder; any other path as it is."""
    folder = os.path.expanduser(path)
    if not os.path.isdir(folder):
        return [path]
    below = [f"{glob.escape(path.rstrip('/'))}/**/*{ending}" for ending in _ENDINGS]
    there = [pattern for pattern in below if glob.glob(os.path.expanduser(pattern), recursive=True)]
    return there[:1] if there[:1] == below[:1] else there or [path]


def settings(config: DictConfig, stage: str, kind: str) -> dict[str, Any]:
    """The settings of one kind that `fetches` of a stage lists, with their values, except those that are not set.

    Args:
        kind: models, datasets, files, or repository_files (of the repository, else of the working directory). A `*` in
            a name stands for each key of a mapping.

    Raises:
        StageError: an entry is not the name of a setting.
    """
    found = {}
    for name in (config.stages[stage].get("fetches") or {}).get(kind) or []:
        if name is None:  # it depends on another setting whether this one is read
            continue
        if not re.fullmatch(r"\w+(\.(\w+|\*))+", str(name)):
            raise StageError(
                f"conf/stage/{stage}.yaml: fetches.{kind} has {name!r}; it lists the names of settings, such as "
                "corpus.tokenizer"
            )
        before, star, after = name.partition(".*.")
        for setting in [f"{before}.{key}.{after}" for key in OmegaConf.select(config, before)] if star else [name]:
            if value := _value(config, setting):
                found[setting] = value
    return found


def fingerprints(config: DictConfig, stage: str) -> dict[str, str]:
    """The fingerprint of each model and data set that the settings of a stage name, by setting.

    A folder or a file counts by its files, an artifact by its fingerprint, and a name of the Hub by its commit. What
    cannot be told begins with `UNKNOWN` and has the reason.
    """
    token = _token(config, stage)
    found = {name: _of_model(str(value), token) for name, value in settings(config, stage, "models").items()}
    for setting, data in data_sets(config, stage).items():
        found |= _of_data_set(setting, data, _value(config, f"{setting.rpartition('.')[0]}.revision"), token)
    return found


def artifacts(config: DictConfig, stage: str) -> list[Path]:
    """The folders of models that the settings of a stage name, if they are artifacts, whole and without additions."""
    folders = (Path(value).expanduser() for value in settings(config, stage, "models").values())
    return [folder for folder in folders if folder.is_dir() and _of_artifact(folder, _names(folder))]


def data_sets(config: DictConfig, stage: str) -> dict[str, hub_data.Named]:
    """The data sets that the settings of a stage name, by setting, each with its `data_files`."""
    return {
        name: hub_data.named(value, _value(config, f"{name.rpartition('.')[0]}.data_files"))
        for name, value in settings(config, stage, "datasets").items()
    }


def missing_files(config: DictConfig, stage: str) -> dict[str, str]:
    """The settings of a stage whose paths or patterns match no file, each with what readers say about it."""
    found = {}

    def look(setting: str, find: Callable[[], object]) -> None:
        try:
            find()
        except StageError as error:
            found[setting] = str(error)

    for setting, paths in settings(config, stage, "files").items():
        look(setting, functools.partial(named_files, paths))
    for setting, data in data_sets(config, stage).items():
        for pattern in data.patterns:
            look(f"{setting.rpartition('.')[0]}.data_files", functools.partial(hub_data.local_files, pattern))
    for setting, path in settings(config, stage, "repository_files").items():
        if not in_repository(path).is_file():
            found[setting] = f"no file {path} (looked in {ROOT} and in {os.getcwd()})"
    return found


def _value(config: DictConfig, setting: str) -> Any:
    """The value of a setting; None if it is absent or not set."""
    value = OmegaConf.select(config, setting)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _token(config: DictConfig, stage: str) -> str | None:
    return os.environ.get(config.stages[stage].get("token_variable", "HF_TOKEN")) or None


def _of_model(name: str, token: str | None) -> str:
    if is_local(name):
        return _of_path(Path(name).expanduser())
    return _of_name(*without_pin(name), "model", token)


def _of_data_set(setting: str, data: hub_data.Named, revision: str | None, token: str | None) -> dict[str, str]:
    """The fingerprints of a data set and of those `data_files` that are not part of it."""
    found = {}
    if data.folder is not None:
        found[setting] = _of_path(data.folder)
    elif data.is_on_hub:
        found[setting] = _of_name(data.name, revision or data.revision, "dataset", token)
    beside = f"{setting.rpartition('.')[0]}.data_files"
    if data.patterns:
        try:
            files = sorted({file for pattern in data.patterns for file in hub_data.local_files(pattern)})
            found[beside] = _of_files(with_names(files))
        except StageError as error:
            found[beside] = f"{UNKNOWN}: {error}"
    for url in (file for file in data.files if "://" in file):
        on_hub = hub_data.data_set_of(url)
        found[f"{beside} {url}"] = (
            _of_name(*without_pin(on_hub), "dataset", token) if on_hub else f"{UNKNOWN}: an address counts by its name"
        )
    return found


def _of_name(name: str, revision: str | None, kind: str, token: str | None) -> str:
    """The fingerprint of a name of the Hub."""
    if name.startswith(("/", ".", "~")):
        return f"{UNKNOWN}: there is no such file or folder"
    found = commit(name, kind, revision, token)
    return f"{UNKNOWN}: {found.problem}" if found.sha is None else f"{COMMIT}{found.sha}"


def _of_path(path: Path) -> str:
    """The fingerprint of a local file or folder; hidden files do not count."""
    if path.is_file():
        return _of_files([(path, path.name)])
    names = _names(path)
    return _of_artifact(path, names) or _of_files([(path / name, name) for name in names])


def _names(folder: Path) -> list[str]:
    """The files in a folder and below, sorted; hidden ones do not count."""
    return sorted(name for name in glob.glob("**/*", root_dir=folder, recursive=True) if (folder / name).is_file())


def _of_artifact(folder: Path, names: Sequence[str]) -> str | None:
    """The fingerprint of an artifact that has exactly its files, of their sizes; None for any other folder.

    Also of one whose content is known to be damaged: it must not pass for another folder, which nobody compares.
    """
    if "manifest.json" not in names:
        return None
    try:
        made = read_manifest(folder / "manifest.json")
        sizes = {name: written["bytes"] for name, written in made["files"].items()}
    except (StageError, ValueError, KeyError, TypeError):  # of another program, or damaged
        return None
    found = {name: (folder / name).stat().st_size for name in names if name != "manifest.json"}
    return f"artifact {made['fingerprint'][:16]}" if found == sizes else None


def _of_files(named: Sequence[tuple[Path, str]]) -> str:
    """The number of files and a hash of their names and contents; beyond `MAX_READ_BYTES` together, of their names,
    sizes and modification times."""
    stats = [(str(path), name, path.stat()) for path, name in named]
    stats.sort(key=lambda each: each[0])
    if sum(stat.st_size for *_, stat in stats) <= MAX_READ_BYTES:
        kind = ""
        lines = [f"{name} {_digest(file, s.st_size, s.st_mtime_ns, s.st_ino)}" for file, name, s in stats]
    else:
        kind = " by name, size and time"
        lines = [f"{name} {s.st_size} {s.st_mtime_ns}" for _, name, s in stats]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return f"{len(lines)} files{kind}, {digest}"


@functools.cache
def _digest(file: str, _size: int, _time: int, _inode: int) -> str:
    """Hash of a file's content; cached, since a config is resolved many times, and a sweep has many cells."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
