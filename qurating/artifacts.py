"""Artifacts on disk: whole or absent, built once, skipped when complete, refused when they differ.

An artifact is a folder `<root>/<kind>/<name>` with a `manifest.json`. While a stage builds it, its files lie in
`<root>/<kind>/.<name>.partial`; publication is one rename. What identifies an artifact is its stage, the settings
that can change its content, and the fingerprints of its inputs; anything else (workers, devices, time-outs) is
recorded but never compared.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qurating import __version__

if TYPE_CHECKING:
    import pyarrow as pa

# Settings of these names say how a stage runs, never what it makes: results do not depend on them. (on_bad_sample is
# among them so that an annotation that stopped at a sample can go on without it; what is left out is counted.)
RUNTIME_SETTINGS = frozenset(
    {
        "accelerator",
        "api",
        "api_key_variable",
        "api_version",
        "base_url",
        "checkpoint_every_steps",
        "compilation",
        "devices",
        "enable_model_summary",
        "enable_progress_bar",
        "layer_checkpointing",
        "log_every_n_steps",
        "max_batch_bytes",
        "max_batch_requests",
        "max_concurrency",
        "max_cost_usd",
        "max_retries",
        "micro_batch_size",
        "num_nodes",
        "num_shards",
        "num_threads",
        "num_workers",
        "on_bad_sample",
        "patience_seconds",
        "poll_seconds",
        "prices",
        "shard",
        "strategy",
        "timeout_seconds",
        "token_variable",
        "tokens_per_batch",
        "tokens_per_micro_batch",
        "transport",
        "usd_per_million_tokens",
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
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def parquet_format(schema: "pa.Schema") -> dict[str, Any]:
    """How columns are written: text by zstd, the rest by lz4, which is read up to three times as fast."""
    import pyarrow as pa

    columns = [column for field in schema for column in _columns(field.name, field.type)]
    texts = {path for path, kind in columns if pa.types.is_string(kind) or pa.types.is_large_string(kind)}
    return {
        "compression": {path: "zstd" if path in texts else "lz4" for path, _ in columns},
        # numbers in a column of their own seldom repeat
        "use_dictionary": [path for path, _ in columns if path in texts or "." in path],
    }


def _columns(path: str, kind: "pa.DataType") -> list[tuple[str, "pa.DataType"]]:
    """The columns that a field becomes in a Parquet file, each with its type."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _columns(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [column for field in kind for column in _columns(f"{path}.{field.name}", field.type)]
    return [(path, kind)]


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a table as Parquet; the file is there whole or not at all."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, **parquet_format(table.schema))


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
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
    way_out = f"make it anew: its stage, {found['stage']}, in `stage=[...]`, with overwrite=true"
    for name, recorded in found["files"].items():
        try:
            num_bytes = (path / name).stat().st_size
        except FileNotFoundError:
            raise StageError(f"{path} is damaged: {name} is missing; {way_out}") from None
        if num_bytes != recorded["bytes"]:
            raise StageError(
                f"{path} is damaged: {name} has {num_bytes} bytes, {recorded['bytes']} were written; {way_out}"
            )
    return found


def sha256(file: Path) -> str:
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


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def up_to_date(path: Path, identity: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether `path` is complete and was made of exactly this.

    Raises StageError, with the settings that differ and the two ways out, if it was made of something else, or is
    damaged (unless `overwrite`, which then answers False).
    """
    if not (path / "manifest.json").is_file():
        return False
    try:
        made = manifest(path)
    except StageError:
        if overwrite:
            return False
        raise
    changed = differences(made["identity"], identity)
    if changed and not overwrite:
        raise StageError(refusal(str(path), "was made otherwise", changed, str(identity["stage"])))
    return not changed


def refusal(what: str, how: str, changed: list[str], stage: str) -> str:
    shown = "\n".join(f"    {line}" for line in changed[:20])
    more = f"\n    ... and {len(changed) - 20} more" if len(changed) > 20 else ""
    return (
        f"{what} {how}:\n{shown}{more}\n"
        f"  Either keep both, by another name for the new one: artifacts.{stage}=<kind>/<name>\n"
        "  or replace it: overwrite=true"
    )
