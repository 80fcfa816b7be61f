"""The connections to one host, and coming back after they are lost."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator

import libvirt

from agent.core.host import HostError
from agent.core.mistakes import mistake
from agent.hypervisor import event_loop
from agent.hypervisor.calls import AbandonedError, Calls
from agent.hypervisor.errors import translate, unsupported

log = logging.getLogger("gitvirt")

KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3
FIRST_DELAY = 0.05
LONGEST_DELAY = 30.0
PATIENCE = 30.0
"""Seconds that one try to come back may take: a server that is mute never answers."""
LONGEST_AFTER_HANGING = 600.0
"""Seconds until the next try after one that hangs, which costs a thread for good."""
MOST_HANGING = 100


def open_connection(uri: str | None) -> libvirt.virConnect:
    """A new connection; without a URI libvirt chooses as it does for virsh. May raise HostError."""
    event_loop.start()
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise translate(error, f"connect to {uri or 'the default libvirt connection'}") from error
    with _where_supported():
        connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    return connection


class Link:
    """One connection for reads and events, one for each other purpose, fresh ones for streams.

    They are apart because libvirt answers at most five calls at once on a connection: verbs that
    hang would stop the reads. When the first one is lost, `on_change("disconnected")` is called and
    a thread tries to come back until `close`, each time for `patience` seconds; then
    `on_open(connection)` and `on_change("connected")` are called. Both may come from libvirt's
    event thread.
    """

    def __init__(
        self,
        uri: str | None,
        on_open: Callable[[libvirt.virConnect], None],
        on_change: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        self._uri = uri
        self._on_open = on_open
        self._on_change = on_change
        self._lock = threading.Lock()
        self._main: libvirt.virConnect | None = None
        self._sides: dict[str, libvirt.virConnect] = {}
        self._closed = threading.Event()
        self._patience = patience
        self._tries = Calls(MOST_HANGING)
        self._returning: object | None = None
        """What tells the thread that tries to come back from an earlier one; None if none does."""
        where = uri or "the default libvirt connection"
        self._why = f"no connection to {where}"
        """Why there is none."""

    def connect(self) -> libvirt.virConnect:
        """Open the connection for reads now; if that fails, go on trying in the background."""
        try:
            return self._open_main()
        except HostError as error:
            self._why = str(error)
            self.connect_later()
            raise

    def main(self) -> libvirt.virConnect:
        """The connection for reads. Never waits: while it is lost, HostError HostUnreachable."""
        connection = self._main
        if connection is None:
            raise HostError("HostUnreachable", f"{self._why}; trying again")
        return connection

    def side(self, purpose: str) -> libvirt.virConnect:
        """The connection for calls that may block. Opens one, which may block, if there is none."""
        main = self.main()
        if self._private():
            return main
        connection = self._sides.get(purpose)
        if connection is None or not connection.isAlive():
            connection = open_connection(self._uri)
            with self._lock:
                if not self._closed.is_set():
                    self._sides[purpose] = connection
        return connection

    @contextlib.contextmanager
    def fresh(self) -> Iterator[libvirt.virConnect]:
        """A connection for one stream."""
        main = self.main()
        if self._private():
            yield main
            return
        connection = open_connection(self._uri)
        try:
            yield connection
        finally:
            _close(connection)

    def retire(self, purpose: str) -> None:
        """Leave a connection to the call that hangs on it; the next one opens another."""
        with self._lock:
            self._sides.pop(purpose, None)

    def check(self) -> None:
        """After a failed call: see whether the connection is dead, had libvirt not said so."""
        connection = self._main
        if connection is not None and not connection.isAlive():
            self._lost(connection)

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            connections = (self._main, *self._sides.values())
            self._main = None
            self._sides.clear()
        for connection in connections:
            if connection is not None:
                _close(connection)

    def _private(self) -> bool:
        """The test driver keeps its state in the connection: a second one would be another host."""
        return (self._uri or "").startswith("test:")

    def _open_main(self) -> libvirt.virConnect:
        connection = open_connection(self._uri)
        try:
            with _where_supported():
                connection.registerCloseCallback(self._on_closed, None)
            self._on_open(connection)
        except libvirt.libvirtError as error:
            _close(connection)
            raise translate(error, "watch the host's events") from error
        except Exception:
            _close(connection)
            raise
        with self._lock:
            if not self._closed.is_set() and self._main is None:
                self._main = connection
                return connection
        _close(connection)
        raise HostError("HostUnreachable", "the connection was closed by this program")

    def _on_closed(self, connection: libvirt.virConnect, _reason: int, _context: object) -> None:
        self._lost(connection)

    def _lost(self, connection: libvirt.virConnect) -> None:
        with self._lock:
            if connection is not self._main:
                return
            self._main = None
            self._sides.clear()
        self._on_change("disconnected")
        self.connect_later()

    def connect_later(self) -> None:
        """Have a thread try to connect until it can, or until `close`."""
        with self._lock:
            if self._returning is not None or self._closed.is_set():
                return
            self._returning = token = object()
        threading.Thread(
            target=self._return, args=(token,), name="libvirt-reconnect", daemon=True
        ).start()

    def _return(self, token: object) -> None:
        delay = FIRST_DELAY
        while not self._closed.wait(delay * random.uniform(0.5, 1.0)):  # noqa: S311
            if self._returning is not token:
                return
            longest = LONGEST_DELAY
            try:
                self._tries.run("connect", self._come_back, self._patience)
            except HostError as error:
                self._why = str(error)
                if isinstance(error, AbandonedError):
                    longest = max(LONGEST_AFTER_HANGING, delay)
            except Exception as error:
                if self._closed.is_set():  # the end takes the connection from whoever uses it
                    return
                log.exception("a mistake in gitvirt itself, in connecting to libvirt")
                self._why = mistake(error)
            else:
                continue
            delay = min(2 * delay, longest)

    def _come_back(self) -> None:
        """One try. One that was given up may still come to its end, long after."""
        connection = self._open_main()
        with self._lock:
            self._returning = None
        if not self._closed.is_set():
            self._on_change("connected")
            if not connection.isAlive():  # lost again before anybody listened
                self._lost(connection)


@contextlib.contextmanager
def _where_supported() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if not unsupported(error):
            raise


def _close(connection: libvirt.virConnect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        connection.unregisterCloseCallback()
    with contextlib.suppress(libvirt.libvirtError):
        connection.close()
