"""Migrations between hosts in memory: a test may hold one at any of its stages, and break it there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lxml import etree

from agent.core.host import HostError, RawDomain
from agent.core.migrating import Nvram, Order, Transfer

if TYPE_CHECKING:
    from tests.memory_host import MemoryHost


@dataclass
class Going:
    """A migration that is under way."""

    target: MemoryHost
    order: Order
    rounds: int = 0


@dataclass
class MemoryMigrations:
    """Part of `MemoryHost`."""

    peers: dict[str, MemoryHost] = field(default_factory=dict, kw_only=True)
    """The other hosts, by the URI that this one reaches them by."""
    migrations_held: bool = field(default=False, kw_only=True)
    """True to have migrations go on until a test ends them."""
    migration_fails: str = field(default="", kw_only=True)
    """Why migrations that begin here come to nothing."""
    at_stage: Callable[[str], None] = field(default=lambda _stage: None, kw_only=True)
    """Called at each stage of one that leaves here: begun, incoming, copied, landed, handed. What it raises comes out of the
    verb that waits for it, and leaves it there.
    """
    going: dict[str, Going] = field(default_factory=dict, kw_only=True)
    """What leaves this host, by UUID."""
    orders: list[Order] = field(default_factory=list, kw_only=True)
    """All that was ever begun."""
    snapshots_of: dict[str, int] = field(default_factory=dict, kw_only=True)
    """How many snapshots and checkpoints somebody has made of each domain."""
    nvram: dict[str, tuple[Nvram, ...]] = field(default_factory=dict, kw_only=True)
    """What the firmware of each domain remembers, by its name."""
    failures: dict[str, str] = field(default_factory=dict, kw_only=True)
    """Why what this process began has failed, by UUID, until somebody has asked."""

    @property
    def _me(self) -> MemoryHost:
        from tests.memory_host import MemoryHost

        assert isinstance(self, MemoryHost)
        return self

    def begin_migration(self, uuid: str, order: Order) -> None:
        with self._me._effect("begin_migration", uuid):
            domain = self._me._get(uuid)
            self.orders.append(order)
            if not domain.active or uuid in self.going:
                self.failures[uuid] = (
                    f"cannot migrate domain {uuid}: it does not run, or goes already"
                )
                return
            target = self.peers.get(order.peer)
            why = self.migration_fails or _refused(target, domain)
            if why or target is None:
                self.failures[uuid] = f"cannot migrate domain {uuid}: {why}"
                return
            self.going[uuid] = Going(target, order)
            target._put(
                RawDomain(
                    uuid, domain.name, "paused", "migration", "", active_xml=domain.active_xml
                )
            )
        target._tell(uuid, "lifecycle")
        self.at_stage("incoming")

    def try_peer(self, uuid: str, peer: str, memory: str) -> None:
        """Guests that never run leave nothing here: `held` says that one has arrived."""
        with self._me._effect("try_peer", uuid):
            target = self.peers.get(peer)
            if self.migration_fails or target is None or not target.reachable:
                raise HostError("HostUnreachable", self.migration_fails or f"no way to {peer}")
            target.held[uuid] = ""

    def await_migration(self, uuid: str, seconds: float) -> Transfer:
        self._me._reach()
        if uuid in self.failures:
            raise HostError("HypervisorError", self.failures.pop(uuid))
        if uuid not in self.going:
            return Transfer(running=False)
        self.at_stage("copied")
        if uuid in self.failures:
            raise HostError("HypervisorError", self.failures.pop(uuid))
        if uuid in self.going and not self.migrations_held:
            self.migration_lands(uuid)
            self.at_stage("landed")
        if uuid in self.going and not self.migrations_held:
            self.migration_ends(uuid)
            self.at_stage("handed")
        return Transfer(uuid in self.going, 100, 50)

    def abort_migration(self, uuid: str) -> None:
        with self._me._effect("abort_migration", uuid):
            if uuid in self.going:
                self.migration_breaks(uuid, "it was aborted")

    def changed(self, pool: str, name: str) -> str:
        self._me._reach()
        volume = self._me._volume(pool, name)
        return hashlib.sha256(repr((volume.content, volume.capacity)).encode()).hexdigest()

    def snapshots(self, uuid: str) -> int:
        self._me._reach()
        return self.snapshots_of.get(uuid, 0)

    def read_nvram(self, name: str) -> tuple[Nvram, ...]:
        self._me._reach()
        return self.nvram.get(name, ())

    def write_nvram(self, name: str, files: Sequence[Nvram]) -> None:
        with self._me._effect("write_nvram", name):
            self.nvram.pop(name, None)
            if files:
                self.nvram[name] = tuple(files)

    def set_metadata(self, uuid: str, xml: str) -> None:
        from tests.memory_host import _with_metadata

        with self._me._effect("set_metadata", uuid, "metadata"):
            domain = self._me._get(uuid)
            inactive = _with_metadata(domain.inactive_xml, xml)
            self._me._put(replace(domain, inactive_xml=inactive))

    def go_on(self, uuid: str) -> None:
        with self._me._effect("go_on", uuid):
            domain = self._me._get(uuid)
            if not domain.active:
                raise HostError("InvalidState", f"cannot resume domain {uuid}: it is not running")
        if domain.state == "paused":
            self._me._set(uuid, "running", "unpaused")

    # What happens to a migration.

    def migration_lands(self, uuid: str) -> None:
        """The guest has landed, paused, and the source has not heard of it yet."""
        going, domain = self.going[uuid], self._me._get(uuid)
        self._me._put(replace(domain, state="paused", reason="migration"))
        for disk in _disks(domain.active_xml, going.order.disks):
            _copy(self._me, going.target, disk)
        going.target._put(
            replace(domain, state="paused", reason="user", managed_save=False, rebooted=0.0)
        )
        for host in (self._me, going.target):
            host._tell(uuid, "lifecycle")

    def migration_ends(self, uuid: str) -> None:
        """The source has heard of it, and is off."""
        del self.going[uuid]
        domain = self._me._get(uuid)
        self._me._put(
            replace(domain, state="shutoff", reason="migrated", active_xml="", rebooted=0.0)
        )
        self._me._tell(uuid, "lifecycle")

    def migration_breaks(self, uuid: str, why: str = "the link is gone") -> None:
        """It comes to nothing before it has landed: the source goes on, and nothing is on the target but volumes."""
        going = self.going.pop(uuid)
        self.failures[uuid] = f"cannot migrate domain {uuid}: {why}"
        there = going.target._domains.get(uuid)
        if there is not None and not there.inactive_xml:
            going.target._drop(uuid)
        domain = self._me._get(uuid)
        if domain.active:
            self._me._put(replace(domain, state="running", reason="migration-canceled"))
        for host in (self._me, going.target):
            host._tell(uuid, "lifecycle")

    def daemon_restarts(self) -> None:
        """Nobody here knows of failures any more that nobody has asked for."""
        self.failures.clear()


def _refused(target: MemoryHost | None, domain: RawDomain) -> str:
    if target is None or not target.reachable:
        return "no connection to the other host"
    there = target._domains.get(domain.uuid)
    if there is not None and there.active:
        return "it runs there"
    every = {each.path for pool in target.pools.values() for each in pool.values()}
    missing = [path for path in _paths(domain.active_xml) if path not in every]
    return f"Cannot access storage file '{missing[0]}'" if missing else ""


def _paths(xml: str) -> list[str]:
    sources = etree.fromstring(xml.encode()).iterfind("devices/disk/source")
    paths = [source.get("file") or source.get("dev") or "" for source in sources]
    return [path for path in paths if path.startswith("/var/lib/libvirt/")]


def _disks(xml: str, targets: tuple[str, ...]) -> list[str]:
    """Files of the disks with these names."""
    found = []
    for disk in etree.fromstring(xml.encode()).iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        if target is not None and source is not None and target.get("dev") in targets:
            found.append(source.get("file") or source.get("dev") or "")
    return found


def _copy(source: MemoryHost, target: MemoryHost, path: str) -> None:
    def at(host: MemoryHost) -> object:
        return next(v for pool in host.pools.values() for v in pool.values() if v.path == path)

    here, there = at(source), at(target)
    there.content, there.capacity = here.content, here.capacity  # type: ignore[attr-defined]
