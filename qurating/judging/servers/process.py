"""A server of our own in a process of its own, which cannot outlive the one that started it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def started(module: str, settings: Mapping[str, Any], errors: IO[bytes] | None = None) -> Iterator[IO[str]]:
    """Run `python -m module`; gives what it prints. It is stopped at the end of the block.

    Args:
        module: reads a JSON line of settings, says where it serves, and ends when its standard input closes.
        errors: where its standard error goes; None: where ours does.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is the stage's business: it closes the pipe
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it has died already: what it prints is empty
            server.stdin.write(json.dumps(settings) + "\n")
            server.stdin.flush()
        yield server.stdout
    finally:
        with contextlib.suppress(BrokenPipeError):
            server.stdin.close()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()
