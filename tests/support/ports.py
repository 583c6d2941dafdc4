"""Ports for tests that run beside one another."""

import contextlib
import secrets
import socket

# nothing listens on TCP port 1, and the system gives it to nobody who asks for any port
NOBODY_LISTENS = "http://127.0.0.1:1"


def free_port() -> int:
    """A free port, at random, out of those that the system gives to no server of another test meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
