"""Building an artifact: one task at a time, resumed after a kill, published by one rename.

Beside `<name>` lie, while it is built, the working folder `.<name>.partial`, the plan `.<name>.plan.json` (what is
being built, by whom, and the counts once it is) and the lock `.<name>.lock`, which the system frees if its holder dies.
"""

import contextlib
import datetime
import glob
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from qurating.runtime.errors import StageError
from qurating.artifacts.manifest import code_version, refusal, up_to_date, versions
from qurating.artifacts.identity import differences, plain
from qurating.artifacts.files import read_json, sha256, write_json


def publish(
    path: Path,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    labels: list[str],
    overwrite: bool,
    build: Callable[[Path], dict[str, Any] | None],
    share: str | None = None,
    keep: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Build an artifact under its lock and publish it by a rename; None if another task had built it meanwhile.

    `build(folder)` fills a working folder, which survives a kill and is handed to the next attempt at the same
    `identity`; it returns the counts for the manifest (and, under "labels", warnings that every later artifact
    inherits). Once it has returned it is not called again for this artifact. `settings` is everything the stage was
    given, for the record.

    Several tasks may fill one working folder side by side, each with a `share` of its own name. `build` then returns
    None, and so does this, while other shares are missing; the task that finds all of them there publishes.

    `keep` names files (relative to the folder) by which `build` can tell whether they are still good: a working folder
    begins with those that are whole in the artifact which is replaced, if that was made with the same settings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if share is not None:
        with _locked(path):
            if up_to_date(path, identity, overwrite):
                return None
            work, plan = _open_work(path, identity, overwrite, keep)
        # without the lock of the artifact: the other shares are built at the same time
        with _locked(path.with_name(f"{path.name}.share-{share}")):
            try:
                build(work)
            except BaseException as error:
                # another task may have published the folder under this one's hands
                if isinstance(error, OSError) and up_to_date(path, identity, overwrite):
                    return None
                with contextlib.suppress(OSError):
                    write_json(_plan(path), plan | {"failed": True})  # for `follow`
                raise
    with _locked(path):
        if up_to_date(path, identity, overwrite):
            return None
        work, plan = _open_work(path, identity, overwrite, keep)
        if "counts" not in plan:
            started = time.monotonic()
            try:
                counts = build(work)
            except BaseException:
                with contextlib.suppress(OSError):  # the disk may be what failed
                    write_json(_plan(path), plan | {"failed": True})
                    if not any(file.stat().st_size for file in work.rglob("*") if file.is_file()):
                        shutil.rmtree(work)  # nothing worth keeping: what is mended may be tried at once
                raise
            if counts is None:
                return None
            plan |= {"counts": counts, "seconds": round(time.monotonic() - started, 1)}
            write_json(_plan(path), plan)
        made = _manifest(path, work, identity, settings, labels, plan)
        write_json(work / "manifest.json", made)
        old = path.with_name(f".{path.name}.replaced")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():  # with overwrite; or a folder without a manifest, which is no artifact
            os.rename(path, old)
        os.rename(work, path)
        _plan(path).unlink()
        for lock in path.parent.glob(f".{glob.escape(path.name)}.share-*.lock"):
            lock.unlink()
        shutil.rmtree(old, ignore_errors=True)
        return made


def follow(path: Path, identity: Mapping[str, Any], join: Callable[[Path], Any] | None) -> None:
    """What the other processes of a distributed run do with an artifact that the first one builds.

    Wait until it is complete; if the stage trains on several devices, take part as soon as the first has begun:
    `join(folder)` trains beside it in the same working folder. Raises StageError if the first process fails; it cannot
    tell if that is killed (torchrun can, and ends the others).
    """
    while not up_to_date(path, identity, overwrite=True):
        time.sleep(0.2)
        plan: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            plan = read_json(_plan(path))
        if plan.get("run") != run_token():
            continue  # of an earlier run, or of another job that builds the same
        if plan.get("failed"):
            raise StageError(f"the first process failed to build {path}")
        if join is not None and "counts" not in plan:
            join(_work(path))
            join = None


def run_token() -> str:
    """What the processes of one distributed run, and no others, have in common."""
    keys = ("TORCHELASTIC_RUN_ID", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return "/".join(os.environ.get(key, "") for key in keys)


def _work(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _plan(path: Path) -> Path:
    return path.with_name(f".{path.name}.plan.json")


def _open_work(
    path: Path, identity: Mapping[str, Any], overwrite: bool, keep: Sequence[str]
) -> tuple[Path, dict[str, Any]]:
    """The working folder and its plan: new, or as an attempt at the same thing left them."""
    work = _work(path)
    plan: dict[str, Any] = {}
    if work.is_dir() and _plan(path).is_file():
        plan = read_json(_plan(path))
        # files that were mended may be gone on with: the stage itself refuses what it had read already
        changed = [d for d in differences(plan["identity"], identity) if not d.startswith("config.files:")]
        if changed and not overwrite:
            raise StageError(refusal(str(work), "was begun otherwise", changed, str(identity["stage"])))
        if changed:
            plan = {}
    is_new = not plan
    if is_new:
        shutil.rmtree(work, ignore_errors=True)
    done = {key: plan[key] for key in ("counts", "seconds") if key in plan}
    plan = {"identity": identity, "host": platform.node(), "process": os.getpid(), "run": run_token()} | done
    # the plan first: a folder without one belongs to nobody
    write_json(_plan(path), plan)
    work.mkdir(exist_ok=True)
    (work / "manifest.json").unlink(missing_ok=True)
    if is_new and keep and (path / "manifest.json").is_file():
        _take_over(path, work, identity, keep)
    return work, plan


def _take_over(path: Path, work: Path, identity: Mapping[str, Any], keep: Sequence[str]) -> None:
    """Files of a complete artifact, as they were written, into the working folder of the one that replaces it."""
    old = read_json(path / "manifest.json")
    if differences(old["identity"]["config"], identity["config"]):
        return
    for name in keep:
        file, recorded = path / name, old["files"].get(name)
        if recorded and file.is_file() and sha256(file) == recorded["sha256"]:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, work / name)
            except OSError:  # a file system without links
                torn = (work / name).with_name(f".{file.name}.tmp")
                shutil.copy2(file, torn)
                os.replace(torn, work / name)


def _manifest(
    path: Path,
    work: Path,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    labels: list[str],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """How the artifact came about, and what is in it."""
    for torn in work.rglob(".*.tmp"):  # of writes that a kill cut short
        torn.unlink()
    names = sorted(file.relative_to(work).as_posix() for file in work.rglob("*") if file.is_file())
    files = {name: {"bytes": (work / name).stat().st_size, "sha256": sha256(work / name)} for name in names}
    content = json.dumps([identity, {name: file["sha256"] for name, file in files.items()}], sort_keys=True)
    return {
        "stage": identity["stage"],
        "name": f"{path.parent.name}/{path.name}",
        "identity": identity,
        "config": plain(settings),
        "inputs": identity["inputs"],
        "labels": sorted({*labels, *plan["counts"].get("labels", [])}),
        "seed": settings.get("seed"),
        "counts": {key: value for key, value in plan["counts"].items() if key != "labels"},
        "seconds": plan["seconds"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "packages": versions(),
        "files": files,
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
    }


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
