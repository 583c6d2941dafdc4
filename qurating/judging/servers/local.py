"""A local language model as the judge: a llama.cpp server on loopback, in a separate process.

Needs the optional package xllamacpp (`pip install -e '.[local]'`) and a GGUF file. Run as a process:
`python -m qurating.judging.servers.local`, which reads a JSON line of settings, prints its address, serves, and ends
when its standard input closes.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qurating.artifacts.files import sha256
from qurating.judging.servers import process
from qurating.runtime.errors import StageError

MODEL = "local"  # the server has one model and accepts any name for it


@contextlib.contextmanager
def serving(gguf: Path, context_tokens: int, max_concurrency: int, num_threads: int | None) -> Iterator[str]:
    """Run the server during the block, and yield its base URL, which ends in /v1.

    Raises StageError if xllamacpp is not installed, the file is missing or not GGUF, or the server does not start.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise StageError("judge=local needs the package xllamacpp: pip install -e '.[local]', or pip install xllamacpp")
    if not gguf.is_file():
        raise StageError(f"judge.gguf={gguf}: no such file. Name a model in llama.cpp's format (.gguf)")
    with open(gguf, "rb") as stream:
        if stream.read(4) != b"GGUF":
            raise StageError(f"judge.gguf={gguf} is not a GGUF file: convert the model with llama.cpp's tools")
    settings = {
        "gguf": str(gguf.resolve()),
        "context": context_tokens,
        "slots": max_concurrency,
        "threads": num_threads,
    }
    with (
        tempfile.TemporaryFile() as errors,
        process.started("qurating.judging.servers.local", settings, errors) as printed,
    ):
        while (line := printed.readline()) and not line.startswith("http://"):
            pass  # llama.cpp may print other lines first
        if not line:
            errors.seek(0)
            tail = errors.read()[-800:].decode(errors="replace").strip()
            raise StageError(f"the llama.cpp server did not start on {gguf}. Its output ends with:\n{tail}")
        yield f"{line.strip()}/v1"


def identity(gguf: Path) -> str:
    """What answers on whatever port: the model file by its SHA-256, and the version of the server."""
    version = "of unknown version"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a build of another name
        version = importlib.metadata.version("xllamacpp")
    return f"gguf {sha256(gguf)} xllamacpp {version}"


def _serve() -> None:
    import xllamacpp

    given: dict[str, Any] = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = given["gguf"]
    params.port = 0  # a free one, on loopback
    # the context is divided equally among the slots
    params.n_parallel, params.n_ctx = given["slots"], given["context"] * given["slots"]
    params.warmup = False
    if given["threads"]:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()  # returns when the parent closes the pipe or dies
    os._exit(0)  # without waiting for the threads of the model


if __name__ == "__main__":
    _serve()
