"""The connections to one host, and coming back after they are lost."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator

import libvirt

from agent.core.host import HostError
from agent.hypervisor import event_loop
from agent.hypervisor.errors import translate, unsupported

KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3
FIRST_DELAY = 0.05
LONGEST_DELAY = 30.0


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
    a thread tries to come back until `close`; then `on_open(connection)` and
    `on_change("connected")` are called. Both may come from libvirt's event thread.
    """

    def __init__(
        self,
        uri: str | None,
        on_open: Callable[[libvirt.virConnect], None],
        on_change: Callable[[str], None],
    ) -> None:
        self._uri = uri
        self._on_open = on_open
        self._on_change = on_change
        self._lock = threading.Lock()
        self._main: libvirt.virConnect | None = None
        self._sides: dict[str, libvirt.virConnect] = {}
        self._closed = threading.Event()
        self._returning = False

    def connect(self) -> libvirt.virConnect:
        """Open the connection for reads now; if that fails, go on trying in the background."""
        try:
            return self._open_main()
        except HostError:
            self._return_later()
            raise

    def main(self) -> libvirt.virConnect:
        """The connection for reads. Never waits: while it is lost, HostError(unreachable)."""
        connection = self._main
        if connection is None:
            where = self._uri or "the default libvirt connection"
            raise HostError(
                "HostUnreachable", f"no connection to {where}; trying again", unreachable=True
            )
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
        with self._lock:
            if not self._closed.is_set():
                self._main = connection
                return connection
        _close(connection)
        raise HostError(
            "HostUnreachable", "the connection was closed by this program", unreachable=True
        )

    def _on_closed(self, connection: libvirt.virConnect, _reason: int, _context: object) -> None:
        self._lost(connection)

    def _lost(self, connection: libvirt.virConnect) -> None:
        with self._lock:
            if connection is not self._main:
                return
            self._main = None
            self._sides.clear()
        self._on_change("disconnected")
        self._return_later()

    def _return_later(self) -> None:
        with self._lock:
            if self._returning or self._closed.is_set():
                return
            self._returning = True
        threading.Thread(target=self._return, name="libvirt-reconnect", daemon=True).start()

    def _return(self) -> None:
        delay = FIRST_DELAY
        while not self._closed.wait(delay * random.uniform(0.5, 1.0)):  # noqa: S311
            try:
                connection = self._open_main()
            except HostError:
                delay = min(2 * delay, LONGEST_DELAY)
                continue
            break
        with self._lock:
            self._returning = False
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
