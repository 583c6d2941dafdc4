"""Runs one of our servers in a child process, which cannot outlive its parent."""

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
    """Run `python -m module` during the block, and yield its standard output.

    Args:
        module: reads a JSON line of settings, prints its port or address, and ends when its standard input closes.
        errors: receives its standard error; None: inherited.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C goes to the stage only, which closes the pipe
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it has died already: its output is empty
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
