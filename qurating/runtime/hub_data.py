"""What the settings `dataset` and `data_files` of a Hub-style data set name: files, folders, data sets of the Hub."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qurating.runtime.errors import StageError
from qurating.runtime.revisions import is_local, pinned, without_pin

SCHEME = "hf://datasets/"
# names that `load_dataset` takes for the format of `data_files`, whatever folder has such a name
FORMATS = frozenset(
    (
        *("arrow", "audiofolder", "conll", "csv", "eval", "fasta", "fastq", "genbank", "harbor", "hdf5", "iceberg"),
        *("imagefolder", "json", "lance", "meshfolder", "mmcif", "niftifolder", "pandas", "parquet", "pdb"),
        *("pdffolder", "text", "tsfile", "videofolder", "vortex", "webdataset", "xml"),
    )
)


class Named(NamedTuple):
    """A data set.

    Args:
        name: as the setting has it, without the revision that it pins.
        revision: the one that its name pins, owner/name@revision, or None.
        folder: it is this file or folder; None if it is none.
        is_on_hub: it is a data set of the Hub.
        files: its `data_files` as `load_dataset` takes them: with the home folder for `~`, and without patterns in the
            name of a file that exists.
        patterns: those of `files` that are patterns of local files, and no part of `folder`.
    """

    name: str
    revision: str | None
    folder: Path | None
    is_on_hub: bool
    files: list[str]
    patterns: list[str]


def named(dataset: str, data_files: str | Sequence[str] | None) -> Named:
    """What a data set reads; `dataset` is a folder, a name on the Hub, or a format such as json."""
    given = [data_files] if isinstance(data_files, str) else [str(file) for file in data_files or []]
    files = [glob.escape(path) if os.path.isfile(path) else path for path in map(os.path.expanduser, given)]
    is_format = dataset in FORMATS
    folder = Path(dataset).expanduser() if not is_format and is_local(dataset) else None
    patterns = [file for file in files if "://" not in file and (is_format or os.path.isabs(file))]
    name, revision = without_pin(dataset) if folder is None else (dataset, None)
    return Named(name, revision, folder, is_on_hub=folder is None and not is_format, files=files, patterns=patterns)


def local_files(pattern: str) -> list[Path]:
    """The local files that `load_dataset` finds for a pattern; raises StageError for none."""
    from datasets.data_files import resolve_pattern

    try:
        return [Path(file) for file in resolve_pattern(pattern, os.getcwd())]
    except (OSError, ValueError) as error:
        raise StageError(f"no file matches {pattern} (looked in {os.getcwd()}): {error}") from None


def data_set_of(file: str) -> str | None:
    """The data set of a file on the Hub, hf://datasets/owner/name@main/a.jsonl -> owner/name@main; None for others."""
    return "/".join(file.removeprefix(SCHEME).split("/")[:2]) if file.startswith(SCHEME) else None


def pinned_url(file: str, token: str | None) -> str:
    """A file of the Hub at its commit (`revisions.commit`); any other file as it is."""
    if (found := data_set_of(file)) is None:
        return file
    name, revision = without_pin(found)
    sha = pinned(name, "dataset", revision, token)
    return file if sha is None else file.replace(f"{SCHEME}{found}", f"{SCHEME}{name}@{sha}", 1)
