"""Where verbs are carried out: a node's host, what comes from elsewhere, and who has to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from agent.core.actions import WriteSeed
from agent.core.host import Host, HostError
from agent.core.image_sources import ImageSource

STARTS_AT_ONCE = 4

Sharing = Callable[[str, str], tuple[str, ...]]
"""(node, pool) → names of all nodes whose domains may have that pool's volumes, always in the same
order, the node itself among them.
"""


class Locks:
    """Made when they are first asked for, and forgotten once nobody has or wants them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: WeakValueDictionary[Hashable, threading.Semaphore] = WeakValueDictionary()

    def of(self, key: Hashable, at_once: int = 1) -> threading.Semaphore:
        with self._guard:
            lock = self._known.get(key)
            if lock is None:
                self._known[key] = lock = threading.Semaphore(at_once)
            return lock


@dataclass(frozen=True)
class Content:
    """What a volume is to hold."""

    size: int
    """Bytes."""
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class Image(Content):
    """Checked image data, ready to be stored as it is."""

    digest: str
    format: str
    virtual_size: int
    """Bytes that a guest sees."""
    resolved: str = ""
    """What its reference was found to mean, where that may mean something else by and by."""


class Supply(Protocol):
    """Where content comes from."""

    def image(self, source: ImageSource, site: Site) -> AbstractContextManager[Image]:
        """Bring and check. May take hours; raises ImageError."""

    def seed(self, action: WriteSeed) -> Content:
        """Make a medium. Raises ImageError."""


@dataclass(frozen=True)
class Site:
    """One node, for one object's sequence."""

    name: str
    hosts: Mapping[str, Host]
    nodes_of: Sharing
    locks: Locks
    supply: Supply
    check: Callable[[], None]
    """Raises HostError or ImageError where nothing may be begun any more."""
    told: Callable[[int], None] = lambda _percent: None
    """Hears how far a long job is."""
    trouble: Callable[[str], None] = lambda _why: None
    """Hears why it gets no further."""

    @property
    def node(self) -> Host:
        """Raises HostError for a node that is none of this agent's."""
        return self.at(self.name)

    def sharing(self, pool: str) -> tuple[Host, ...]:
        return tuple(self.at(name) for name in self.nodes_of(self.name, pool))

    def start(self) -> AbstractContextManager[object]:
        """A few domains of a node start at once."""
        return self.locks.of(("start", self.name), STARTS_AT_ONCE)

    def backup(self, uuid: str) -> AbstractContextManager[object]:
        """One at a time freezes a guest and copies its disks."""
        return self.locks.of(("backup", self.name, uuid))

    def pool(self, pool: str) -> AbstractContextManager[object]:
        """One at a time makes, resizes or deletes volumes of a pool, on whatever node."""
        return self.locks.of(("pool", self.nodes_of(self.name, pool), pool))

    @contextmanager
    def volume(self, pool: str, name: str) -> Iterator[None]:
        """One at a time replaces a volume's content or takes it away."""
        with self.locks.of(("volume", self.nodes_of(self.name, pool), pool, name)):
            yield

    def at(self, name: str) -> Host:
        host = self.hosts.get(name)
        if host is None:
            known = ", ".join(sorted(self.hosts)) or "none"
            raise HostError(
                "NodeNotFound",
                f"node {name} is none of this agent's nodes ({known}): say in the settings how to "
                "connect to it, or what it is called now",
            )
        return host
