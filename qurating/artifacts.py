"""Artifacts on disk: whole or absent, built once, skipped when complete, refused when they differ.

An artifact is a folder `<root>/<kind>/<name>` with a `manifest.json`. While a stage builds it, its files lie in
`<root>/<kind>/.<name>.partial`; publication is one rename. What identifies an artifact is its stage, the settings
that can change its content, and the fingerprints of its inputs; anything else (workers, devices, time-outs) is
recorded but never compared.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from qurating import __version__

if TYPE_CHECKING:
    import pyarrow as pa

# Settings of these names say how a stage runs, never what it makes: results do not depend on them.
RUNTIME_SETTINGS = frozenset(
    {
        "accelerator",
        "api_key_variable",
        "base_url",
        "checkpoint_every_steps",
        "devices",
        "enable_model_summary",
        "enable_progress_bar",
        "log_every_n_steps",
        "max_concurrency",
        "max_retries",
        "micro_batch_size",
        "num_nodes",
        "num_workers",
        "strategy",
        "timeout_seconds",
        "token_variable",
        "tokens_per_batch",
    }
)
PACKAGES = (
    "datasets",
    "hydra-core",
    "numpy",
    "openai",
    "pyarrow",
    "pytorch-lightning",
    "tokenizers",
    "torch",
    "transformers",
)


class StageError(Exception):
    """Something the user can mend; its message says what and how, and is printed without a traceback."""


def seed_for(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one purpose, from the run's seed: adding a use changes no other."""
    digest = hashlib.blake2b("\x00".join([str(seed), *purpose]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def row_files(folder: Path) -> list[Path]:
    """The Parquet shards of a folder in order; raises StageError if there is none."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise StageError(f"{folder} holds no Parquet shard")
    return files


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a table as zstd Parquet; the file is there whole or not at all."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """Settings as JSON can hold them: paths and infinities become strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def without_runtime(value: Any) -> Any:
    """Settings without those that cannot change a result."""
    if isinstance(value, Mapping):
        return {key: without_runtime(item) for key, item in value.items() if key not in RUNTIME_SETTINGS}
    return [without_runtime(item) for item in value] if isinstance(value, list) else value


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted keys."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}


def differences(old: Any, new: Any) -> list[str]:
    """The settings in which two identities differ, one readable line each."""
    a, b = leaves(old), leaves(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} there, {b.get(key, absent)!r} now"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a complete artifact; raises StageError if it is absent or a file of it is gone or cut short."""
    file = path / "manifest.json"
    if not file.is_file():
        raise StageError(
            f"{path} is not there yet: add the stage that makes it to `stage=[...]`, or name another artifact"
        )
    found: dict[str, Any] = read_json(file)
    for name, recorded in found["files"].items():
        try:
            num_bytes = (path / name).stat().st_size
        except FileNotFoundError:
            raise StageError(f"{path} is damaged: {name} is missing; delete the folder and run again") from None
        if num_bytes != recorded["bytes"]:
            raise StageError(
                f"{path} is damaged: {name} has {num_bytes} bytes, {recorded['bytes']} were written; "
                "delete the folder and run again"
            )
    return found


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def code_version() -> str:
    """The commit of the code that runs (with `-dirty` if it was changed since), or the package's version."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def up_to_date(path: Path, identity: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether `path` is complete and was made of exactly this.

    Raises StageError, with the settings that differ and the two ways out, if it was made of something else
    (unless `overwrite`, which then answers False).
    """
    if not (path / "manifest.json").is_file():
        return False
    changed = differences(manifest(path)["identity"], identity)
    if changed and not overwrite:
        raise StageError(_refusal(str(path), "was made otherwise", changed, str(identity["stage"])))
    return not changed


def follow(path: Path, identity: Mapping[str, Any], join: Callable[[Path], Any] | None) -> None:
    """What the other processes of a distributed run do with an artifact that the first one builds.

    Wait until it is complete; if the stage trains on several devices, take part as soon as the first has begun:
    `join(folder)` trains beside it in the same working folder.
    """
    plan = path.with_name(f".{path.name}.partial") / "plan.json"
    while not up_to_date(path, identity, overwrite=True):
        time.sleep(0.2)
        if join is not None and plan.is_file():
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                if not differences(read_json(plan)["identity"], identity):
                    join(plan.parent)
                    join = None


def _refusal(what: str, how: str, changed: list[str], stage: str) -> str:
    shown = "\n".join(f"    {line}" for line in changed[:20])
    more = f"\n    ... and {len(changed) - 20} more" if len(changed) > 20 else ""
    return (
        f"{what} {how}:\n{shown}{more}\n"
        f"  Either keep both, by another name for the new one: artifacts.{stage}=<kind>/<name>\n"
        "  or replace it: overwrite=true"
    )


def publish(
    path: Path,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    labels: list[str],
    overwrite: bool,
    build: Callable[[Path], dict[str, Any]],
) -> dict[str, Any] | None:
    """Build an artifact under its lock and publish it by a rename; None if another task had built it meanwhile.

    `build(folder)` fills a working folder, which survives a kill and is handed to the next attempt at the same
    `identity`; it returns the counts for the manifest (and, under "labels", warnings that every later artifact
    inherits). `settings` is everything the stage was given, for the record.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.partial")
    with _locked(path.with_name(f".{path.name}.lock"), work):
        if up_to_date(path, identity, overwrite):
            return None
        _open_work(work, identity, overwrite)
        started = time.monotonic()
        counts = build(work)
        (work / "plan.json").unlink()
        names = sorted(file.relative_to(work).as_posix() for file in work.rglob("*") if file.is_file())
        files = {name: {"bytes": (work / name).stat().st_size, "sha256": _sha256(work / name)} for name in names}
        made = {
            "stage": identity["stage"],
            "name": f"{path.parent.name}/{path.name}",
            "identity": identity,
            "config": plain(settings),
            "inputs": identity["inputs"],
            "labels": sorted({*labels, *counts.pop("labels", [])}),
            "seed": settings.get("seed"),
            "counts": counts,
            "seconds": round(time.monotonic() - started, 1),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "code_version": code_version(),
            "packages": _versions(),
            "files": files,
        }
        content = json.dumps([identity, {name: file["sha256"] for name, file in files.items()}], sort_keys=True)
        made["fingerprint"] = hashlib.sha256(content.encode()).hexdigest()
        write_json(work / "manifest.json", made)
        if path.exists():  # only with overwrite, or a folder without a manifest, which is no artifact
            old = path.with_name(f".{path.name}.replaced")
            shutil.rmtree(old, ignore_errors=True)
            os.rename(path, old)
            os.rename(work, path)
            shutil.rmtree(old)
        else:
            os.rename(work, path)
        return made


def _open_work(work: Path, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Make the working folder, or take up one left by an attempt at the same thing."""
    plan = work / "plan.json"
    if plan.is_file():
        changed = differences(read_json(plan)["identity"], identity)
        if changed and not overwrite:
            raise StageError(_refusal(str(work), "was begun otherwise", changed, str(identity["stage"])))
        if changed:
            shutil.rmtree(work)
    elif work.exists() and not (work / "manifest.json").exists():
        shutil.rmtree(work)
    (work / "manifest.json").unlink(missing_ok=True)
    work.mkdir(exist_ok=True)
    write_json(plan, {"identity": identity, "host": platform.node(), "process": os.getpid()})


@contextlib.contextmanager
def _locked(lock: Path, work: Path) -> Iterator[None]:
    """Hold the lock of an artifact; says who builds it if that takes waiting. A dead builder's lock is free."""
    guard = filelock.FileLock(lock)
    try:
        guard.acquire(timeout=0.2)
    except filelock.Timeout:
        plan = work / "plan.json"
        with contextlib.suppress(OSError, ValueError):
            builder = read_json(plan)
            print(f"    waiting: {builder['host']} (process {builder['process']}) is building it", flush=True)
        guard.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        guard.release()
