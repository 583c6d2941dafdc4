"""The commit at which a model or a data set of the Hugging Face Hub is read.

A name of the Hub means one commit for the whole process: the one that the user pins (`owner/name@revision` for models,
a setting `revision` for data sets), else the one in the client's cache, else the newest at the Hub. What is loaded and
what an artifact records are therefore the same.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_SECONDS = 10.0  # of one question to the Hub


class Commit(NamedTuple):
    """`sha`: 40 hexadecimal digits, or None if it cannot be told; `problem`: why not."""

    sha: str | None
    problem: str = ""


_commits: dict[tuple[str, str, str | None], Commit] = {}  # of this process


def is_local(name_or_path: str) -> bool:
    """Whether a file or a folder has this name; `~` is the home folder."""
    return os.path.exists(os.path.expanduser(name_or_path))


def without_pin(name: str) -> tuple[str, str | None]:
    """A name of the Hub and the revision that it pins: lab/rater@v1 -> (lab/rater, v1); None without one."""
    bare, _, revision = name.partition("@")
    return bare, revision or None


def commit(name: str, kind: str, revision: str | None = None, token: str | None = None) -> Commit:
    """The commit of a model or data set of the Hub; asks the Hub only if the client's cache does not know it.

    Args:
        name: on the Hub, without a pin.
        kind: "model" or "dataset".
        revision: a branch, a tag or a commit; None: the main branch.
        token: for the Hub; None: that of the client.
    """
    key = (name, kind, revision)
    if key not in _commits:
        _commits[key] = _found(name, kind, revision, token)
    return _commits[key]


def _found(name: str, kind: str, revision: str | None, token: str | None) -> Commit:
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return Commit(revision)
    try:
        cached = _reference(name, kind, revision).read_text(encoding="utf-8").strip()
        if (_reference(name, kind, revision).parents[1] / "snapshots" / cached).is_dir():
            return Commit(cached)
    except (OSError, ValueError):
        pass  # not in the cache, or no name of the Hub
    from huggingface_hub import HfApi

    ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
    try:
        found = ask(name, revision=revision, timeout=TIMEOUT_SECONDS, expand=["sha"], token=token)
    except Exception as error:  # the Hub and the network raise many types
        return Commit(None, f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}")
    return Commit(found.sha, "" if found.sha else "the Hub does not name it")


def pinned(name: str, kind: str, revision: str | None = None, token: str | None = None) -> str | None:
    """The revision to load, exactly that of `commit`; the one given if that cannot be told.

    Writes down in the client's cache what the branch or tag means, as the client does when it loads a branch: without
    a network, the same commit is found again.
    """
    sha = commit(name, kind, revision, token).sha
    if sha is None:
        return revision
    reference = _reference(name, kind, revision)
    if sha != revision and not reference.exists():
        with contextlib.suppress(OSError):  # a cache that cannot be written
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(sha, encoding="utf-8")
    return sha


def loadable(name_or_path: str | Path, token: str | None = None) -> dict[str, Any]:
    """The arguments of `from_pretrained` of transformers that say which model or tokenizer: a folder or file as it is,
    a name of the Hub at its commit."""
    if is_local(str(name_or_path)):
        return {"pretrained_model_name_or_path": os.path.expanduser(name_or_path)}
    name, revision = without_pin(str(name_or_path))
    return {"pretrained_model_name_or_path": name, "revision": pinned(name, "model", revision, token) or "main"}


def _reference(name: str, kind: str, revision: str | None) -> Path:
    """The file of the client's cache with the commit of a branch or tag."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type=kind))
    return folder / "refs" / (revision or "main")
