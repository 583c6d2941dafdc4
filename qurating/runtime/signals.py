"""SIGTERM, as schedulers and launchers send it, ends work that is paid for in the same way as Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """In the block, SIGTERM does what Ctrl-C does; a launcher that handles SIGTERM in its own way does so afterwards.

    Only the main thread can receive signals; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    terminate, ctrl_c = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, interrupt)
    if ctrl_c == signal.SIG_IGN:  # a job in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if received and callable(terminate):
            terminate(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, ctrl_c)
