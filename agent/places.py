"""Where a fleet's hosts are, the storage pools that its disks lie in, and what its networks are on
each host: the settings `nodes`, `pools` and `networks`. They stand in a configuration file alone,
never in the repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from agent.core.human import shown
from agent.core.identity import POOL
from agent.core.links import MAIN, OPEN_VSWITCH, Link
from agent.core.migrating import Manner, Peer
from agent.core.model import Json
from agent.core.quantity import to_bytes
from agent.core.spelling import nearest

_NODE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_POOL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NETWORK = _NODE
_BRIDGE = re.compile(r"(?!\.\.?\Z)[^\s/:\x00-\x1f\x7f]{1,15}", re.ASCII)
"""A network interface of Linux."""
_VLANS = range(1, 4095)
_LIBVIRT_NAME = re.compile(r"[^\s/\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,127}")
_CONNECT = re.compile(r"[a-z]+(\+[a-z0-9]+)?:\S+")
_PEER = re.compile(r"[a-z]+\+[a-z0-9]+://[^\s/]+/\S+")
_MIGRATE = re.compile(r"(tcp|rdma)://[^\s/]+")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How one host is reached."""

    connect: str
    """libvirt's connection URI, from where the agent runs."""
    peer: str = ""
    """Its connection URI from the other hosts; empty where they do not reach it."""
    migrate: str = ""
    """Where the memory of machines that come to it is sent; empty for what its name resolves to."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """One storage pool, the same on each host that has it."""

    pool: str
    """libvirt's name for it."""
    shared: bool = False
    """True if it holds the same data on each of them."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Storage pools as libvirt calls them."""

    names: frozenset[str] = frozenset({POOL})
    """All that a node may have."""
    shared: frozenset[str] = frozenset()
    """Those that hold the same data on each node that has them."""
    named: Mapping[str, str] = field(default_factory=lambda: {POOL: POOL})
    """What libvirt calls each that a manifest may name."""

    def sharing(self, nodes: Iterable[str], node: str, pool: str) -> tuple[str, ...]:
        """Those of the nodes that have what one has in a pool, itself among them."""
        return tuple(other for other in nodes if other == node or pool in self.shared)

    @classmethod
    def of(cls, pools: Mapping[str, PoolSettings]) -> Pools:
        named = {name: pool.pool for name, pool in pools.items()}
        return cls(
            frozenset({POOL, *named.values()}),
            frozenset(pool.pool for pool in pools.values() if pool.shared),
            {POOL: POOL, **named},
        )


class PlaceError(ValueError):
    """A setting does not hold. `path` leads to it from the setting's own name."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def nodes(value: Json) -> Mapping[str, NodeSettings]:
    """The setting `nodes`, in its order. Raises PlaceError."""
    settings: dict[str, NodeSettings] = {}
    for name, content in _named(value, 'pt-1: {connect: "qemu+ssh://pt-1/system"}'):
        if not _NODE.fullmatch(name):
            raise PlaceError((name,), "is no node's name: use lower-case letters, digits, - and .")
        fields = _fields((name,), content, ("connect", "peer", "migrate"))
        connect = _text((name,), fields, "connect", _CONNECT, "qemu+ssh://pt-1/system")
        if not connect:
            raise PlaceError((name,), "must say with connect how its host is reached")
        peer = _text((name,), fields, "peer", _PEER, "qemu+tls://pt-1/system")
        migrate = _text((name,), fields, "migrate", _MIGRATE, "tcp://10.0.0.1")
        settings[name] = NodeSettings(connect, peer, migrate)
        _unlike(settings, (name, "connect"), [node.connect for node in settings.values()])
    return settings


def pools(value: Json) -> Mapping[str, PoolSettings]:
    """The setting `pools`, in its order. Raises PlaceError."""
    settings: dict[str, PoolSettings] = {}
    for name, content in _named(value, "local: {pool: gitvirt}"):
        if not _POOL.fullmatch(name):
            raise PlaceError((name,), "is no pool's name: use lower-case letters, digits and -")
        fields = _fields((name,), content, ("pool", "shared"))
        pool = _text((name,), fields, "pool", _LIBVIRT_NAME, "gitvirt")
        if not pool:
            raise PlaceError((name,), "must say with pool what libvirt calls it")
        shared = fields.get("shared", False)
        if not isinstance(shared, bool):
            raise PlaceError((name, "shared"), f"must be true or false, not {shown(shared)}")
        settings[name] = PoolSettings(pool, shared)
        _unlike(settings, (name, "pool"), [pool.pool for pool in settings.values()])
    return settings


def networks(value: Json) -> Mapping[str, Link]:
    """The setting `networks`, in its order. Raises PlaceError."""
    settings: dict[str, Link] = {}
    for name, content in _named(value, "main: {network: default}"):
        if not _NETWORK.fullmatch(name):
            raise PlaceError(
                (name,), "is no network's name: use lower-case letters, digits, - and ."
            )
        known = ("network", "bridge", "portgroup", "vlan", "virtualport", "filter", *_OF_MAIN)
        fields = _fields((name,), content, known)
        network = _text((name,), fields, "network", _LIBVIRT_NAME, "default")
        bridge = _text((name,), fields, "bridge", _BRIDGE, "br0")
        if bool(network) == bool(bridge):
            message = (
                "must say either with network what libvirt calls it, or with bridge its bridge"
            )
            raise PlaceError((name,), message)
        for only, other in (("portgroup", bridge), ("vlan", network), ("virtualport", network)):
            if fields.get(only) is not None and other:
                what = "libvirt network" if only == "portgroup" else "bridge"
                raise PlaceError((name, only), f"can only be said of a {what}: take it out")
        settings[name] = Link(
            network,
            _text((name,), fields, "portgroup", _LIBVIRT_NAME, "vlan-20"),
            bridge,
            _vlan((name, "vlan"), fields.get("vlan")),
            _text((name,), fields, "virtualport", re.compile(OPEN_VSWITCH), OPEN_VSWITCH),
            _text((name,), fields, "filter", _LIBVIRT_NAME, "clean-traffic"),
            *(_addresses(name, each, fields.get(each)) for each in _OF_MAIN),
        )
    return settings


_OF_MAIN = ("gateway", "nameservers")
"""What guests are told by their medium, of the network that their addresses are in."""


def _addresses(name: str, field: str, value: Json) -> tuple[str, ...]:
    """One address, or several."""
    if value is None:
        return ()
    if name != MAIN:
        raise PlaceError((name, field), f"can only be said of {MAIN}: take it out")
    listed = value if isinstance(value, list) else [value]
    for each in listed:
        try:
            IPv4Address(each if isinstance(each, str) else "")
        except ValueError:
            message = f"must be an address such as 10.66.10.1, or a list of them, not {shown(each)}"
            raise PlaceError((name, field), message) from None
    return tuple(listed)


def _vlan(path: tuple[str, str], value: Json) -> int:
    if value is None:
        return 0
    return _whole(path, value, _VLANS[0], _VLANS[-1])


def migration(value: Json) -> Manner:
    """The setting `migration`. Raises PlaceError."""
    names = ("bandwidth", "downtime", "atOnce", "firmwareUpdates", "loadShifting")
    fields = _fields((), value, names)
    bandwidth = fields.get("bandwidth", 0)
    try:
        limit = to_bytes(bandwidth) if bandwidth else 0
    except ValueError as error:
        raise PlaceError(("bandwidth",), f"{error}, such as 100Mi for each second") from error
    return Manner(
        limit,
        _whole(("downtime",), fields.get("downtime", 0), 0, 60_000),
        _whole(("atOnce",), fields.get("atOnce", 1), 1, 100),
        firmware_updates=_switch(("firmwareUpdates",), fields.get("firmwareUpdates", True)),
        load_shifting=_switch(("loadShifting",), fields.get("loadShifting", False)),
    )


def _switch(path: tuple[str, ...], value: Json) -> bool:
    if not isinstance(value, bool):
        raise PlaceError(path, f"must be true or false, not {shown(value)}")
    return value


def _whole(path: tuple[str, ...], value: Json, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PlaceError(path, f"must be a whole number from {least} to {most}, not {shown(value)}")
    return value


def peers(nodes: Mapping[str, NodeSettings]) -> Mapping[str, Peer]:
    """How other hosts reach those that they do."""
    return {name: Peer(node.peer, node.migrate) for name, node in nodes.items() if node.peer}


PLACES: Mapping[str, Callable[[Json], Any]] = {
    "nodes": nodes,
    "pools": pools,
    "networks": networks,
    "migration": migration,
}
"""The settings that only a file has, for they are more than one value, and what reads each."""


def _named(value: Json, example: str) -> Iterable[tuple[str, Json]]:
    if not isinstance(value, Mapping) or not value:
        raise PlaceError((), f"must be a mapping, such as {example}, not {shown(value)}")
    return ((str(name), content) for name, content in value.items())


def _fields(path: tuple[str, ...], value: Json, known: tuple[str, ...]) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise PlaceError(path, f"must be a mapping with {known[0]}, not {shown(value)}")
    for name in value:
        if name not in known:
            meant = nearest(str(name), known)
            hint = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}"
            raise PlaceError((*path, str(name)), f"is no setting: {hint}")
    return value


def _text(
    path: tuple[str, ...],
    fields: Mapping[str, Json],
    name: str,
    pattern: re.Pattern[str],
    example: str,
) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise PlaceError((*path, name), f"must look like {example}, not {shown(value)}")
    return value


def _unlike(known: Mapping[str, object], path: tuple[str, str], values: list[str]) -> None:
    """The last of these is none of the others."""
    first = values.index(values[-1])
    if first < len(values) - 1:
        other = list(known)[first]
        raise PlaceError(path, f"is that of {other}, too: keep one of them")
