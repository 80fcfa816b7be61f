"""What hosts show, as facts. Reads run in threads; passes take in what they found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TypeVar

from agent.core.domain_xml import has_agent, memory_of
from agent.core.facts import Engine
from agent.core.host import GuestInfo, RawDomain, RawVolume, Reading
from agent.core.identity import (
    POOL,
    disk_uid,
    disk_volumes,
    finished,
    is_image_data,
    is_passing,
    is_snapshot,
    keeps_data,
    known_data,
    prefix_of,
    unfinished,
    upload,
)
from agent.core.known import (
    DISK_VOLUMES,
    DOMAIN,
    DOMAIN_AT,
    DOMAIN_NAME,
    DOUBLED,
    FOREIGN,
    FREE,
    GUEST,
    NODE,
    OVERLAYS,
    POOL_PATH,
    POOL_TYPE,
    VOLUME,
    VOLUME_AT,
    VOLUMES_OF,
    WRITERS,
    K,
    Table,
)
from agent.core.network import NetworkReading
from agent.core.volumes import written_by
from agent.reconcile.addresses import Addresses
from agent.reconcile.networks import Networks

N = TypeVar("N", bound=str | tuple[str, str])


class Observation:
    """Something that was found out about a node."""


@dataclass(frozen=True)
class DomainRead(Observation):
    """One domain, read because something happened to it. `number` orders reads by their start."""

    number: int
    node: str
    uuid: str
    raw: RawDomain | None


@dataclass(frozen=True)
class NetworkRead(Observation):
    """One of libvirt's networks. `number` orders reads by their start."""

    number: int
    node: str
    name: str
    reading: NetworkReading | None


@dataclass(frozen=True)
class FullRead(Observation):
    number: int
    reading: Reading


@dataclass(frozen=True)
class VolumeRead(Observation):
    node: str
    pool: str
    name: str
    volume: RawVolume | None


@dataclass(frozen=True)
class GuestRead(Observation):
    node: str
    uuid: str
    info: GuestInfo | None


@dataclass(frozen=True)
class SpaceRead(Observation):
    node: str
    free: Mapping[str, int]
    """Bytes, by pool."""


@dataclass(frozen=True)
class UploadsRead(Observation):
    node: str
    pool: str
    volumes: Mapping[tuple[str, str], RawVolume]
    """By pool and name; those that are no uploads say nothing."""


@dataclass(frozen=True)
class NodeLost(Observation):
    node: str
    message: str


class Part(Enum):
    """What is read of a node beside all of it."""

    DOMAIN = "a domain"
    NETWORK = "a network"
    SPACE = "its free space"
    GUEST = "a guest agent's answer"
    UPLOADS = "what is uploaded to it"


@dataclass(frozen=True)
class ReadFailed(Observation):
    """A mistake of this program: what was known before still is."""

    node: str
    part: Part
    message: str


Detail = (
    DomainRead
    | VolumeRead
    | GuestRead
    | NetworkRead
    | SpaceRead
    | UploadsRead
    | NodeLost
    | ReadFailed
)
"""All but a full read."""


class World:
    """Puts observations into an engine. A read that began before a newer one of the same domain is
    dropped.
    """

    def __init__(self, engine: Engine, fleet: str) -> None:
        self._engine = engine
        self._fleet = fleet
        self._domains: dict[str, dict[str, RawDomain]] = {}
        """By node and UUID."""
        self._read_at: dict[str, dict[str, int]] = {}
        """Number of the newest read of a domain since the last full read, by node and UUID."""
        self._full_at: dict[str, int] = {}
        """Number of the last full read of a node."""
        self._volumes: dict[str, dict[tuple[str, str], RawVolume]] = {}
        """By node, and pool and name."""
        self.networks = Networks(engine)
        self._addresses = Addresses(engine, fleet)
        self._pools: dict[str, frozenset[str]] = {}
        """Names of the active pools of a node."""
        self._foreign: dict[str, dict[str, int]] = {}
        """Bytes of memory by node and UUID, of what others run there."""
        self.image_data: set[tuple[str, str]] = set()
        """(node, volume) of everything that this fleet imported."""
        self.known: set[tuple[str, str]] = set()
        """(node, volume) of the marks that say whose image data is."""
        self.passing: set[tuple[str, str, str]] = set()
        """(node, pool, volume) of what this fleet has only while something is being made."""
        self.uploads: set[tuple[str, str]] = set()
        """(node, volume) of all that was uploaded, and of its marks."""
        self.mute: frozenset[tuple[str, str]] = frozenset()
        """(node, UUID) of the domains that cannot be read."""
        self.snapshots: set[tuple[str, str]] = set()
        """Volumes of snapshots on whatever node, as (pool, volume)."""
        self.named: dict[str, set[str]] = {}
        """Volumes by what the names of a disk's begin with."""

    def observe(self, seen: Observation) -> None:
        match seen:
            case DomainRead():
                self._domain(seen.number, seen.node, seen.uuid, seen.raw)
            case FullRead():
                self._reading(seen.number, seen.reading)
            case VolumeRead():
                self._volume(seen.node, seen.pool, seen.name, seen.volume)
            case GuestRead():
                self._engine.put(GUEST, (seen.node, seen.uuid), seen.info)
            case NetworkRead():
                self.networks.read(seen.number, seen.node, seen.name, seen.reading)
            case SpaceRead():
                for pool, free in seen.free.items():
                    self._engine.put(FREE, (seen.node, pool), free)
            case UploadsRead():
                self._uploaded(seen)
            case NodeLost():
                pass  # what was read of it stays known

    def domains(self, node: str) -> Mapping[str, RawDomain]:
        """Every domain of a node as last read, by UUID."""
        return self._domains.get(node, {})

    def all_domains(self) -> Iterator[RawDomain]:
        """Those of all nodes."""
        return chain.from_iterable(of_node.values() for of_node in self._domains.values())

    def volumes(self, node: str) -> Mapping[tuple[str, str], RawVolume]:
        """Every volume of a node as last read, by pool and name."""
        return self._volumes.get(node, {})

    def _reading(self, number: int, reading: Reading) -> None:
        node = reading.node.name
        self._engine.put(NODE, node, reading.node)
        self.networks.read_all(number, node, reading.networks)
        for pool in self._pools.get(node, frozenset()) - reading.pools.keys():
            self._engine.put(POOL_PATH, (node, pool), None)
        for pool, path in reading.pools.items():
            self._engine.put(POOL_PATH, (node, pool), path)
            self._engine.put(POOL_TYPE, (node, pool), reading.types.get(pool))
        self._pools[node] = frozenset(reading.pools)
        for uuid in [uuid for uuid in self.domains(node) if uuid not in reading.domains]:
            self._domain(number, node, uuid, None)
        for uuid, raw in reading.domains.items():
            self._domain(number, node, uuid, raw)
        self._full_at[node] = number
        read = self._read_at.get(node, {})
        self._read_at[node] = {uuid: at for uuid, at in read.items() if at > number}
        for pool, name in [key for key in self.volumes(node) if key not in reading.volumes]:
            if pool in reading.pools:  # of one that is not active nobody knows
                self._volume(node, pool, name, None)
        for (pool, name), volume in reading.volumes.items():
            self._volume(node, pool, name, volume)

    def _uploaded(self, seen: UploadsRead) -> None:
        """What else lies in the pool may have changed since by a deed of the agent's own."""
        for node, name in list(self.uploads):
            if node == seen.node and (seen.pool, name) not in seen.volumes:
                self._volume(node, seen.pool, name, None)
        for (pool, name), volume in seen.volumes.items():
            if upload(self._fleet, name) is not None:
                self._volume(seen.node, pool, name, volume)

    def _domain(self, number: int, node: str, uuid: str, raw: RawDomain | None) -> None:
        key = (node, uuid)
        read = self._read_at.setdefault(node, {})
        if number < max(read.get(uuid, -1), self._full_at.get(node, -1)):
            return
        read[uuid] = number
        known = self._domains.setdefault(node, {})
        old = known.get(uuid)
        if raw is None:
            known.pop(uuid, None)
        else:
            known[uuid] = raw
        if (raw is not None and raw.unread) != (key in self.mute):
            self.mute ^= {key}
        if raw is None or not raw.active:
            self._engine.put(GUEST, key, None)
        if old is not None and (raw is None or raw.name != old.name):
            named = (node, old.name)
            if self._engine.get(DOMAIN_NAME, named) == uuid:
                self._engine.put(DOMAIN_NAME, named, None)
        if raw is not None:
            self._engine.put(DOMAIN_NAME, (node, raw.name), uuid)
        if (old is None) != (raw is None):
            self._lies(node, uuid, there=raw is not None)
        self._writes(key, old, raw)
        if old is not raw:
            self._addresses.read(old, raw)
        self._counts(key, old, raw)
        self._engine.put(DOMAIN, key, raw)

    def _lies(self, node: str, uuid: str, *, there: bool) -> None:
        before = self._engine.get(DOMAIN_AT, uuid) or ()
        self._amend(DOMAIN_AT, uuid, node, there=there)
        after = self._engine.get(DOMAIN_AT, uuid) or ()
        for each in {*before, *after} if len(before) + len(after) > 2 else ():
            self._amend(DOUBLED, each, uuid, there=each in after and len(after) > 1)

    def _writes(self, key: tuple[str, str], old: RawDomain | None, new: RawDomain | None) -> None:
        """Remember which domains have a disk that they may write to: seldom more than one has."""
        if old is new:
            return
        node, uuid = key
        before, after = (written_by(raw) if raw else frozenset() for raw in (old, new))
        for serial in before ^ after:
            self._amend(WRITERS, (node, serial), uuid, there=serial in after)

    def _counts(self, key: tuple[str, str], old: RawDomain | None, new: RawDomain | None) -> None:
        """Add up the memory of running domains that are none of this fleet's."""
        if old is new:
            return
        node, uuid = key
        theirs = self._foreign.setdefault(node, {})
        size = memory_of(new.active_xml) if new is not None and self._is_foreign(new) else 0
        if size != theirs.get(uuid, 0):
            theirs[uuid] = size
            self._engine.put(FOREIGN, node, sum(theirs.values()) or None)

    def _is_foreign(self, raw: RawDomain) -> bool:
        return raw.active and f' fleet="{self._fleet}"' not in raw.active_xml

    def _volume(self, node: str, pool: str, name: str, volume: RawVolume | None) -> None:
        volumes = self._volumes.setdefault(node, {})
        known = volumes.get((pool, name))
        if known is not volume:
            self._base(node, name, known.backing_path if known else "", there=False)
            self._base(node, name, volume.backing_path if volume else "", there=True)
        if volume is None:
            volumes.pop((pool, name), None)
        else:
            volumes[pool, name] = volume
        self._state(node, pool, name)
        if is_passing(self._fleet, name):
            (self.passing.discard if volume is None else self.passing.add)((node, pool, name))
        if half := finished(name):
            self._state(node, pool, half)

    def _state(self, node: str, pool: str, name: str) -> None:
        """State a volume, as decisions see it. One that is not whole is none to them."""
        volumes = self._volumes[node]
        half = (pool, unfinished(name)) in volumes
        volume = None if half else volumes.get((pool, name))
        known = self._engine.get(VOLUME, (node, pool, name))
        self._engine.put(VOLUME, (node, pool, name), volume)
        if (known is None) != (volume is None):
            self._indexed(node, pool, name, there=volume is not None)

    def _indexed(self, node: str, pool: str, name: str, *, there: bool) -> None:
        """Remember where a volume that is new is found, or forget one that is gone."""
        self._amend(VOLUME_AT, (pool, name), node, there=there)
        if keeps_data(self._fleet, name):
            somewhere = self._engine.get(VOLUME_AT, (pool, name)) is not None
            self._amend(DISK_VOLUMES, disk_uid(name), (pool, name), there=somewhere)
            if is_snapshot(self._fleet, name):
                (self.snapshots.add if somewhere else self.snapshots.discard)((pool, name))
            known = self._engine.get(DISK_VOLUMES, disk_uid(name)) or ()
            self._name(name, there=any(other == name for _, other in known))
        if pool != POOL:
            return  # nothing else of ours lies there
        if is_image_data(self._fleet, name):
            (self.image_data.add if there else self.image_data.discard)((node, name))
        if known_data(self._fleet, name) is not None:
            (self.known.add if there else self.known.discard)((node, name))
        if upload(self._fleet, name) is not None:
            (self.uploads.add if there else self.uploads.discard)((node, name))
        if owner := self._owner(name):
            self._amend(VOLUMES_OF, (node, owner), name, there=there)

    def _base(self, node: str, name: str, path: str, *, there: bool) -> None:
        """Remember what somebody has based on a disk; what is based on images are disks."""
        if path and path.rpartition("/")[2].startswith(disk_volumes(self._fleet)):
            self._amend(OVERLAYS, (node, path), name, there=there)

    def _amend(self, table: Table[K, tuple[N, ...]], key: K, name: N, *, there: bool) -> None:
        """Add a name to a sorted list that is a fact, or take it out."""
        known: tuple[N, ...] = self._engine.get(table, key) or ()
        names = {*known, name} if there else {*known} - {name}
        self._engine.put(table, key, tuple(sorted(names)) or None)

    def _name(self, name: str, *, there: bool) -> None:
        prefix = prefix_of(name)
        names = self.named.pop(prefix, set()) - {name}
        if there and prefix:
            names.add(name)
        if names:
            self.named[prefix] = names

    def _owner(self, name: str) -> str:
        """Uid of the VM whose seed or console log a volume is, or of whatever it was uploaded for,
        or whose data it marks; empty for all others.
        """
        if (said := known_data(self._fleet, name)) is not None:
            return said.uid
        fleet, _, rest = name.partition("_")
        what, _, rest = rest.partition("_")
        if fleet != self._fleet or what not in ("seed", "console", "upload"):
            return ""
        return rest.split("_")[0].split(".")[0]


def wants_guest(raw: RawDomain) -> bool:
    """True if the running guest's agent has opened its channel."""
    return raw.active and has_agent(raw.active_xml)
