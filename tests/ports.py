"""Ports for tests that run beside one another."""

import contextlib
import os
import socket

# nothing listens on TCP port 1, and the system gives it to nobody who asks for any port
NOBODY_LISTENS = "http://127.0.0.1:1"


def free_port() -> int:
    """A port that is free, out of those that no server of another test is given while it is not taken yet."""
    port = 20_000 + os.getpid() % 10_000
    while True:
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
        port += 1
