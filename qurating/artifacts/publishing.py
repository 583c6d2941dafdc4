"""Building an artifact: one task at a time, resumed after a kill, published by one rename.

Beside `<name>` lie, while it is built, the working folder `.<name>.partial`, the plan `.<name>.plan.json` (what is
being built, by whom, and the counts once it is) and the lock `.<name>.lock`, which the system frees if its holder dies.
"""

import contextlib
import glob
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, sha256, write_json
from qurating.artifacts.identity import differences, meaning, recorded
from qurating.artifacts.manifest import described
from qurating.runtime.errors import StageError
from qurating.runtime.processes import run_token


@dataclass
class Work:
    """The building of an artifact, for the task that does it.

    `folder`: to be filled. `to_do`: whether there is something left to build; not where it is complete, or only waits
    to be published. `counts`: set by the builder once all is there; None while shares of others are missing. Under
    "labels" they may bring warnings that every later artifact inherits. `published`: the manifest, if this task
    published it.
    """

    folder: Path
    to_do: bool
    counts: dict[str, Any] | None = None
    published: dict[str, Any] | None = None


@contextlib.contextmanager
def building(artifact: Artifact, share: str | None = None, keep: Sequence[str] = ()) -> Iterator[Work]:
    """Build an artifact in the block, under a lock, and publish it by a rename when the block has ended.

        with building(artifact) as work:
            if work.to_do:
                work.counts = stage(output=work.folder)

    The working folder survives a kill and is handed to the next attempt at the same identity. Once counts are there,
    they are kept: nothing is built again.

    Several tasks may fill one working folder side by side, each with a `share` of its own name and under a lock of its
    own. The block then leaves `counts` at None while other shares are missing; the task that finds all of them there
    publishes.

    `keep` names files (relative to the folder) by which the builder can tell whether they are still good: a working
    folder begins with those that are whole in the artifact which is replaced, if that was made with the same settings.
    """
    path = artifact.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        locks.enter_context(_locked(path))
        if artifact.is_complete():
            yield Work(_work(path), to_do=False)
            return
        folder, plan = _open_work(artifact, keep)
        if share is not None:  # the other shares are built at the same time
            locks.close()
            locks.enter_context(_locked(path.with_name(f"{path.name}.share-{share}")))
        work = Work(folder, to_do="counts" not in plan)
        started = time.monotonic()
        try:
            yield work
        except BaseException as error:
            # another task may have published the folder under this one's hands
            if share is not None and isinstance(error, OSError) and artifact.is_complete():
                return
            with contextlib.suppress(OSError):  # the disk may be what failed
                write_json(_plan(path), plan | {"failed": True})  # for those that wait
                if share is None and not any(file.stat().st_size for file in folder.rglob("*") if file.is_file()):
                    shutil.rmtree(folder)  # nothing worth keeping: what is mended may be tried at once
            raise
        if work.to_do:
            if work.counts is None:
                return
            plan |= {"counts": work.counts, "seconds": round(time.monotonic() - started, 1)}
        if share is not None:
            locks.close()
            locks.enter_context(_locked(path))
            if artifact.is_complete():
                return
        write_json(_plan(path), plan)
        work.published = _publish(artifact, folder, plan)


def _publish(artifact: Artifact, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Give a finished working folder its manifest and its name."""
    path = artifact.path
    for torn in folder.rglob(".*.tmp"):  # of writes that a kill cut short
        torn.unlink()
    (folder / "manifest.json").unlink(missing_ok=True)
    name, done = f"{path.parent.name}/{path.name}", (plan["counts"], plan["seconds"])
    made = described(folder, name, artifact.identity, artifact.settings, {*artifact.labels}, *done)
    write_json(folder / "manifest.json", made)
    old = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():  # with overwrite; or a folder without a manifest, which is no artifact
        os.rename(path, old)
    os.rename(folder, path)
    _plan(path).unlink()
    for lock in path.parent.glob(f".{glob.escape(path.name)}.share-*.lock"):
        lock.unlink()
    shutil.rmtree(old, ignore_errors=True)
    return made


def begun_by_the_first(artifact: Artifact) -> Path | None:
    """For the other processes of a distributed run: wait until the first process has begun to build.

    Returns:
        the working folder, in which they may take part; None if the artifact is complete.

    Raises:
        StageError: the first process failed. That it was killed cannot be told here (torchrun can, and ends the
            others).
    """
    while not _is_there(artifact):
        time.sleep(0.2)
        plan: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            plan = read_json(_plan(artifact.path))
        if plan.get("run") != run_token():
            continue  # of an earlier run, or of another job that builds the same
        if plan.get("failed"):
            raise StageError(f"the first process failed to build {artifact.path}")
        if "counts" not in plan:
            return _work(artifact.path)
    return None


def finished_by_the_first(artifact: Artifact) -> None:
    """Wait until the first process has published; raises StageError if it fails."""
    while begun_by_the_first(artifact) is not None:
        time.sleep(0.2)


def _is_there(artifact: Artifact) -> bool:
    """Complete as this run wants it; what was made otherwise is about to be replaced."""
    try:
        return artifact.is_complete()
    except StageError:
        return False


def _work(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _plan(path: Path) -> Path:
    return path.with_name(f".{path.name}.plan.json")


def _open_work(artifact: Artifact, keep: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The working folder and its plan: new, or as an attempt at the same thing left them."""
    path, folder = artifact.path, _work(artifact.path)
    plan: dict[str, Any] = {}
    if folder.is_dir() and _plan(path).is_file():
        plan = read_json(_plan(path))
        begun = plan["identity"] | {"config": meaning(plan["identity"]["config"], artifact.runtime)}
        # files that were mended may be gone on with: the stage itself refuses what it had read already
        changed = [d for d in differences(begun, artifact.identity) if not d.startswith("config.files:")]
        if changed and not artifact.overwrite:
            raise artifact.refused(str(folder), "was begun otherwise", changed)
        if changed:
            plan = {}
    is_new = not plan
    if is_new:
        shutil.rmtree(folder, ignore_errors=True)
    done = {key: plan[key] for key in ("counts", "seconds") if key in plan}
    plan = {"identity": artifact.identity, "host": platform.node(), "process": os.getpid(), "run": run_token()} | done
    # the plan first: a folder without one belongs to nobody
    write_json(_plan(path), plan)
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    if is_new and keep and (path / "manifest.json").is_file():
        _take_over(artifact, folder, keep)
    return folder, plan


def _take_over(artifact: Artifact, folder: Path, keep: Sequence[str]) -> None:
    """Files of a complete artifact, as they were written, into the working folder of the one that replaces it."""
    old = read_json(artifact.path / "manifest.json")
    if differences(recorded(old, artifact.runtime)["config"], artifact.identity["config"]):
        return
    for name in keep:
        file, written = artifact.path / name, old["files"].get(name)
        if written and file.is_file() and sha256(file) == written["sha256"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, folder / name)
            except OSError:  # a file system without links
                torn = (folder / name).with_name(f".{file.name}.tmp")
                shutil.copy2(file, torn)
                os.replace(torn, folder / name)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of an artifact; says who builds it if that takes waiting. A dead builder's lock is free."""
    guard = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        guard.acquire(timeout=0.2)
    except filelock.Timeout:
        with contextlib.suppress(OSError, ValueError, KeyError):
            builder = read_json(_plan(path))
            print(f"    waiting: {builder['host']} (process {builder['process']}) is building it", flush=True)
        guard.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        guard.release()
