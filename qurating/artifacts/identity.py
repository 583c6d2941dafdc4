"""What identifies an artifact: its stage, the settings that can change its content, and its inputs."""

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
