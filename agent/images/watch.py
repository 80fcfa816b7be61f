"""What ends a transfer from outside."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from agent.images.errors import CancelledError


class LateError(Exception):
    """Not done in time, however often a part of it came."""


class Watch:
    """Asks `cancelled` beside the transfer and cuts its connection, because a read from a
    silent server blocks.
    """

    INTERVAL = 0.2

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._end = float("inf")
        self._thread = threading.Thread(target=self._run, name="image-download-watch", daemon=True)

    def check(self) -> None:
        if self._cancelled():
            raise CancelledError

    def pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            self._over.wait(min(left, self.INTERVAL))
        self.check()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cut the connection where what is done takes longer, also when each read of it ends in
        time. LateError then, whatever that came to.
        """
        self._end = end = time.monotonic() + seconds
        try:
            yield
        except Exception as error:
            if time.monotonic() < end:
                raise
            raise LateError from error
        finally:
            self._end = float("inf")
        if time.monotonic() >= end:
            raise LateError

    def connected(self, fileno: int) -> None:
        """A new connection. A duplicate of it is shut down, so that no TLS state is touched from
        outside.
        """
        with self._lock:
            self._forget()
            self._socket = socket.socket(fileno=os.dup(fileno))

    def _run(self) -> None:
        while not self._over.wait(self.INTERVAL):
            if self._cancelled() or time.monotonic() >= self._end:
                with self._lock:
                    self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the other side was faster

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.check()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._forget()
