"""Building an artifact: one task at a time, resumed after a kill, published by one rename.

While `<name>` is built, three things lie next to it: the working folder `.<name>.partial`; the plan
`.<name>.plan.json` with the identity, the process that builds it and, once it is built, the counts; and the lock
`.<name>.lock`, which the operating system frees if the process dies.
"""

import contextlib
import errno
import glob
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, sha256, write_json
from qurating.artifacts.identity import changes, identifying_settings, recorded_identity
from qurating.artifacts.integrity import remember_intact
from qurating.artifacts.manifest import build_manifest, read_manifest
from qurating.runtime.errors import StageError
from qurating.runtime.machine import cpu_seconds, description
from qurating.runtime.processes import num_processes, run_token


@dataclass
class Work:
    """What `building` hands to the task that builds an artifact.

    `folder`: the working folder to fill. `to_do`: False if the artifact is complete, or built and only not published.
    `counts`: the builder sets it when all files are written; None while the shares of other tasks are missing. Its key
    "labels" may hold warnings that every later artifact inherits, and "records" files that do not count in the
    fingerprint. `published`: the manifest, if this task published.
    """

    folder: Path
    to_do: bool
    counts: dict[str, Any] | None = None
    published: dict[str, Any] | None = None


@contextlib.contextmanager
def building(artifact: Artifact, share: str | None = None, reusable: Sequence[str] = ()) -> Iterator[Work]:
    """Build an artifact in the block, under a lock, and publish it by a rename after the block.

        with building(artifact) as work:
            if work.to_do:
                work.counts = stage(output=work.folder)

    The working folder survives a kill, and the next attempt at the same identity continues in it. Once the plan has the
    counts, nothing is built again.

    Several tasks may fill one working folder at the same time, each with its own `share` name and lock. The block then
    leaves `counts` at None while other shares are missing; the task that finds all shares publishes.

    `reusable` names files (relative to the folder) that the builder checks by itself. If the artifact that is replaced
    was made with the same settings, the new working folder starts with those of its files that are intact.
    """
    path = artifact.path
    _check_write_access(path.parent)
    with contextlib.ExitStack() as locks:
        locks.enter_context(_locked(path))
        if artifact.is_complete():
            if not _working_folder(path).exists():
                _remove_rest(path)  # of a builder that was killed while this task waited
            yield Work(_working_folder(path), to_do=False)
            return
        folder, plan = _open_working_folder(artifact, reusable)
        if share is not None:  # other tasks build the other shares at the same time
            locks.close()
            locks.enter_context(_locked(path.with_name(f"{path.name}.share-{share}")))
        work = Work(folder, to_do="counts" not in plan)
        started, used = time.monotonic(), cpu_seconds()
        try:
            yield work
        except BaseException as error:
            # another task may have published, and so renamed, the folder in the meantime
            if share is not None and isinstance(error, OSError) and artifact.is_complete():
                return
            with contextlib.suppress(OSError):  # the disk may be what failed
                write_json(_plan(path), plan | {"failed": True})  # for the processes that wait
                if share is None and not any(file.stat().st_size for file in folder.rglob("*") if file.is_file()):
                    shutil.rmtree(folder)  # nothing worth keeping: other settings may be tried at once
            raise
        if work.to_do:
            if work.counts is None:
                return
            machine = {**description(), "cpu_seconds": round(cpu_seconds() - used, 1), "attempts": plan["attempts"]}
            plan |= {
                "counts": work.counts,
                "seconds": round(time.monotonic() - started, 1),
                "machine": {**machine, "processes": num_processes(), "is_share": share is not None},
            }
        if share is not None:
            locks.close()
            locks.enter_context(_locked(path))
            if artifact.is_complete():
                return
        write_json(_plan(path), plan)
        work.published = _publish(artifact, folder, plan)


def _check_write_access(folder: Path) -> None:
    """Create a folder of artifacts; raises StageError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise
        raise StageError(
            f"nothing can be written to {folder} ({error.strerror}): ask for write access, or name another folder for "
            "the artifacts: paths.artifacts=…"
        ) from None


def _publish(artifact: Artifact, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a finished working folder, and rename the folder to its final name."""
    path = artifact.path
    for torn in folder.rglob(".*.tmp"):  # of writes that a kill cut short
        torn.unlink()
    (folder / "manifest.json").unlink(missing_ok=True)
    name, done = f"{path.parent.name}/{path.name}", (plan["counts"], plan["seconds"], plan.get("machine", {}))
    made = build_manifest(folder, name, artifact.identity, artifact.settings, {*artifact.labels}, *done)
    write_json(folder / "manifest.json", made)
    remember_intact(path, folder, made)
    shutil.rmtree(_replaced(path), ignore_errors=True)
    if path.exists():  # with overwrite; or a folder without a manifest, which is no artifact
        os.rename(path, _replaced(path))
    os.rename(folder, path)
    _remove_rest(path)
    return made


def remove_rest(path: Path) -> None:
    """Remove what a kill right after the publication of a complete artifact has left next to it.

    A plan with a working folder belongs to an attempt to replace the artifact, which may go on.
    """
    if _plan(path).exists() and not _working_folder(path).exists():
        with contextlib.suppress(OSError), filelock.FileLock(_lock(path), timeout=0):  # Timeout is an OSError
            if (path / "manifest.json").is_file() and not _working_folder(path).exists():
                _remove_rest(path)


def _remove_rest(path: Path) -> None:
    shutil.rmtree(_replaced(path), ignore_errors=True)
    name = f".{glob.escape(path.name)}"
    for rest in (*path.parent.glob(f"{name}.share-*.lock"), *path.parent.glob(f"{name}.plan.json.*.tmp")):
        rest.unlink(missing_ok=True)
    _plan(path).unlink(missing_ok=True)  # last: it tells that something may be left


def wait_until_started(artifact: Artifact) -> Path | None:
    """For the other processes of a distributed run: wait until the first process has started to build.

    Returns:
        the working folder, in which they may take part; None if the artifact is complete.

    Raises:
        StageError: the first process failed. A kill of that process goes unnoticed here (torchrun notices, and ends
            the others).
    """
    while not _is_published(artifact):
        time.sleep(0.2)
        plan: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            plan = read_json(_plan(artifact.path))
        if plan.get("run") != run_token():
            continue  # the plan of an earlier run, or of another job that builds the same artifact
        if plan.get("failed"):
            raise StageError(f"the first process failed to build {artifact.path}")
        if "counts" not in plan:
            return _working_folder(artifact.path)
    return None


def wait_until_published(artifact: Artifact) -> None:
    """Wait until the first process has published; raises StageError if it fails."""
    while wait_until_started(artifact) is not None:
        time.sleep(0.2)


def _is_published(artifact: Artifact) -> bool:
    """Whether the artifact that this run asks for is complete; one made with other settings is about to be replaced."""
    try:
        return artifact.is_complete()
    except StageError:
        return False


def _working_folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _plan(path: Path) -> Path:
    return path.with_name(f".{path.name}.plan.json")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def started(artifact: Artifact) -> dict[str, Any]:
    """The plan of an earlier attempt, in whose working folder the next one continues; empty if it starts anew.

    Raises:
        StageError: the attempt was at other settings or inputs; with `overwrite` the result is empty instead.
    """
    folder, plan = _working_folder(artifact.path), _plan(artifact.path)
    if not (folder.is_dir() and plan.is_file()):
        return {}
    found: dict[str, Any] = read_json(plan)
    identity = found["identity"] | {"config": identifying_settings(found["identity"]["config"], artifact.runtime)}
    # the user may have repaired a file: the stage itself refuses other changes to files that it has read
    changed = [d for d in changes(identity, artifact.identity) if not d.startswith("config.files:")]
    if changed and not artifact.overwrite:
        raise artifact.mismatch(f"{folder} was started", changed)
    return {} if changed else found


def _open_working_folder(artifact: Artifact, reusable: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The working folder and its plan: new, or from an earlier attempt at the same artifact."""
    path, folder = artifact.path, _working_folder(artifact.path)
    plan = started(artifact)
    is_new = not plan
    if is_new:
        shutil.rmtree(folder, ignore_errors=True)
    done = {key: plan[key] for key in ("counts", "seconds", "machine") if key in plan}
    attempt = {"host": platform.node(), "process": os.getpid(), "run": run_token()}
    plan = {"identity": artifact.identity, "attempts": plan.get("attempts", 0) + 1, **attempt} | done
    # the plan first: a working folder without a plan would be deleted
    write_json(_plan(path), plan)
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    if is_new and reusable and (path / "manifest.json").is_file():
        _reuse_files(artifact, folder, reusable)
    return folder, plan


def _reuse_files(artifact: Artifact, folder: Path, reusable: Sequence[str]) -> None:
    """Link intact files of the old artifact into the working folder, if both have the same settings and sources."""
    try:
        old = read_manifest(artifact.path / "manifest.json")
    except StageError:  # a damaged manifest tells nothing about the files
        return
    if changes(recorded_identity(old, artifact.runtime) | {"inputs": {}}, artifact.identity | {"inputs": {}}):
        return
    for name in reusable:
        file, written = artifact.path / name, old["files"].get(name)
        if written and file.is_file() and sha256(file) == written["sha256"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, folder / name)
            except OSError:  # the file system has no hard links
                torn = (folder / name).with_name(f".{file.name}.tmp")
                shutil.copy2(file, torn)
                os.replace(torn, folder / name)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of an artifact. While waiting for it, print which process builds the artifact."""
    guard = filelock.FileLock(_lock(path))
    try:
        guard.acquire(timeout=0.2)
    except filelock.Timeout:
        with contextlib.suppress(OSError, StageError, KeyError):
            builder = read_json(_plan(path))
            print(f"    waiting: {builder['host']} (process {builder['process']}) is building it", flush=True)
        guard.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        guard.release()
