"""The ways to a port of a guest: straight to its address, through the host by ssh, or through
QEMU's user-mode network by a rule that lives as short as can be.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from agent.access.place import Place, bracketed
from agent.core.host import HostError

if TYPE_CHECKING:  # loads libvirt, which is not needed where all goes through ssh
    from agent.hypervisor.visit import Networking, Visit

TRIES = 64
_OUTSIDE = range(20000, 32768)
"""Ports of the host that a rule may take: below those that systems give by themselves."""
CONNECT = 10.0
"""Seconds that a connection straight to a guest may take."""
AT_ONCE = 1.0
"""Seconds after which a guest does not answer at once."""


class NoWayError(Exception):
    """There is none, and trying again changes nothing. The message is for the user."""


class ClosedError(Exception):
    """Nothing answers at the port now."""


@dataclass(frozen=True)
class Target:
    protocol: str
    """tcp or udp."""
    port: int


class Ways:
    """How the ports of one domain are reached; may be used by several threads."""

    def __init__(self, visit: Visit, place: Place, known: Callable[[], str]) -> None:
        """`known` gives the address that the machine's status shows, or nothing. HostError."""
        self._visit, self._place, self._known = visit, place, known
        self._netdev = visit.networking().netdev
        self._lock = threading.Lock()

    def check(self, target: Target) -> None:
        """NoWayError if no connection can ever be made."""
        if self._place.ssh and target.protocol == "udp":
            raise NoWayError("ssh to the machine's node carries tcp alone: udp has no way there")
        if self._netdev and not self._place.local and not self._place.ssh:
            raise NoWayError(
                "the machine is on QEMU's own network, which only its node reaches, and "
                f"{self._place.scheme} leads to no port there: name the node with qemu+ssh"
            )

    def straight(self, port: int) -> str:
        """The address at which programs of this machine reach a tcp port of the guest by
        themselves; empty if there is none, or if nothing answers there now. HostError.
        """
        networking = self._visit.networking()
        if networking.netdev or self._place.ssh:
            return ""
        try:
            where = address(networking, self._known())
            with _straight(where, Target("tcp", port), AT_ONCE) as tried:
                # broken off, not ended: the service has nothing to do, nor to hold against us
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return where
        except ClosedError:
            return ""

    @contextlib.contextmanager
    def connect(self, target: Target) -> Iterator[Connection]:
        """A connection to a port. ClosedError, NoWayError, HostError."""
        self.check(target)
        with self._lock:
            networking = self._visit.networking()
            where = address(networking, self._known())
        if networking.netdev:
            with self._through_qemu(networking.netdev, where, target) as connection:
                yield connection
        elif self._place.ssh:
            with _through_ssh(self._place, where, target.port) as connection:
                yield Connection(connection)
        else:
            with _straight(where, target) as connection:
                yield Connection(connection)

    @contextlib.contextmanager
    def _through_qemu(self, netdev: str, where: str, target: Target) -> Iterator[Connection]:
        outside = self._opened(netdev, where, target)
        done = threading.Event()

        def close() -> None:
            if not done.is_set():
                done.set()
                with self._lock:
                    self._visit.close_port(netdev, target.protocol, outside)

        try:
            if self._place.ssh:
                with _through_ssh(self._place, "127.0.0.1", outside) as connection:
                    yield Connection(connection, close)
            else:
                with _straight("127.0.0.1", Target(target.protocol, outside)) as connection:
                    if target.protocol == "tcp":  # what is connected stays so without the rule
                        close()
                    yield Connection(connection)
        finally:
            close()

    def _opened(self, netdev: str, where: str, target: Target) -> int:
        """A port of the host that leads to the guest's."""
        for outside in random.sample(_OUTSIDE, TRIES):
            with self._lock:
                if self._visit.open_port(netdev, target.protocol, outside, where, target.port):
                    return outside
        raise HostError("Busy", f"none of {TRIES} ports of the host is free")


class Connection:
    """A connected socket, and what is to be done once the guest has answered."""

    def __init__(self, opened: socket.socket, answered: Callable[[], None] = lambda: None) -> None:
        self.socket, self.answered = opened, answered


def address(networking: Networking, known: str) -> str:
    """The guest's address on its network; empty means the one that QEMU's own network gives. A
    guest may say that it has any address: those that would lead to this machine, or to nobody, are
    not believed.
    """
    if networking.netdev:
        return known if _is_ipv4(known) else ""
    confirmed: tuple[str, ...] = (known,) if known in networking.leases else ()
    for each in (*confirmed, *networking.leases, known, *networking.others):
        if _is_a_machines(each):
            return each
    raise ClosedError("no address of it is known yet")


def _is_ipv4(text: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv4Address) and _is_a_machines(text)
    except ValueError:
        return False


def _is_a_machines(text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return not (
        found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified
    )


@contextlib.contextmanager
def _straight(host: str, target: Target, seconds: float = CONNECT) -> Iterator[socket.socket]:
    if target.protocol == "udp":
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect((host, target.port))
            yield datagrams
        return
    try:
        connection = socket.create_connection((host, target.port), seconds)
    except OSError as error:
        raise ClosedError(str(error.strerror or error)) from error
    with connection:
        connection.settimeout(None)
        yield connection


@contextlib.contextmanager
def _through_ssh(place: Place, host: str, port: int) -> Iterator[socket.socket]:
    """A connection that ssh carries; its own words go where the user sees them."""
    ours, theirs = socket.socketpair()
    words = place.command(["-W", f"{bracketed(host)}:{port}", "-o", "LogLevel=ERROR"])
    with ours:
        try:
            with theirs:
                child = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno())
        except OSError as error:
            raise NoWayError(f"{words[0]} cannot be started: {error.strerror}") from error
        try:
            yield ours
        finally:
            child.terminate()
            child.wait()
