"""libcurl's transfers on asyncio's event loop."""

import asyncio
import math
import selectors
from typing import Any

import pycurl

_SEEN_CLOSED_SECONDS = 1.0  # within which libcurl, too, notices that an idle connection was closed


class Transfers:
    """Many transfers at once. Must be made where an event loop runs, and closed.

    libcurl says which sockets it waits for, and when it wants to be called in any case. The sockets are watched by one
    selector, and that by the event loop: a socket that is used again costs the loop nothing. Idle connections stay
    watched, too: libcurl itself looks only once a second whether the other side has closed one.

    Args:
        max_connections: kept open while idle.
    """

    def __init__(self, max_connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._selector = selectors.DefaultSelector()
        self._in_use: set[int] = set()  # sockets
        self._closed_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._running: dict[pycurl.Curl, asyncio.Future[tuple[int, str] | None]] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wait)
        self._loop.add_reader(self._selector, self._ready)

    async def run(self, curl: pycurl.Curl) -> tuple[int, str] | None:
        """Run a transfer to its end; returns libcurl's number of an error and its words, None if there was none."""
        # one that was closed while it was idle might still be used, and the request would be lost
        curl.setopt(pycurl.FRESH_CONNECT, self._loop.time() < self._closed_until)
        ended = self._running[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        try:
            return await ended
        finally:
            del self._running[curl]
            self._multi.remove_handle(curl)

    def close(self) -> None:
        self._loop.remove_reader(self._selector)
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        self._selector.close()

    def _watch(self, event: int, socket: int, multi: Any, data: Any) -> None:
        """libcurl waits for something else at a socket; its POLL_IN and POLL_OUT are EVENT_READ and EVENT_WRITE."""
        if event == pycurl.POLL_REMOVE:
            self._in_use.discard(socket)
        elif socket in self._in_use:
            self._selector.modify(socket, event)
        else:
            self._in_use.add(socket)
            # it may have been closed, and its number given to another, of which the system would not know
            if socket in self._selector.get_map():
                self._selector.unregister(socket)
            self._selector.register(socket, event)

    def _wait(self, milliseconds: int) -> None:
        """libcurl wants to be called after this time, whatever comes; never, if it is below 0."""
        self._due = self._loop.time() + milliseconds / 1000 if milliseconds >= 0 else math.inf
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and milliseconds >= 0:
            self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._due <= self._loop.time():
            self._due = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._settle()
        elif self._due < math.inf:  # put off since
            self._timer = self._loop.call_at(self._due, self._tick)

    def _ready(self) -> None:
        for key, events in self._selector.select(0):
            if key.fd in self._in_use:
                self._multi.socket_action(key.fd, events)
            else:  # idle, and closed by the other side
                self._selector.unregister(key.fd)
                self._closed_until = self._loop.time() + _SEEN_CLOSED_SECONDS
        self._settle()

    def _settle(self) -> None:
        """Tell those who wait what has ended."""
        left = 1
        while left:
            left, done, failed = self._multi.info_read()
            for curl, *error in [*((curl,) for curl in done), *failed]:
                if (ended := self._running.get(curl)) is not None and not ended.done():
                    ended.set_result((error[0], error[1]) if error else None)
