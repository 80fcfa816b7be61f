"""One folder of manifests, decided about by the real code with everything around it fixed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.core import known
from agent.core.actions import DefineDomain
from agent.core.facts import Decision, Engine
from agent.core.host import RawDomain, RawNode, RawVolume
from agent.core.identity import POOL, disk_volume, domain_uuid, image_volume
from agent.core.known import K, Table, V
from agent.core.links import USER, Link
from agent.core.manifests import read_file
from agent.core.model import Key, Manifest, Object
from agent.core.network import RawNetwork
from agent.core.quantity import to_bytes
from agent.core.schema import Catalogue
from agent.core.status import stamp
from agent.kinds.registry import CHECKS, ORDER, decisions
from agent.kinds.virtual_disk.spec import disk_spec
from agent.kinds.virtual_image.spec import image_spec
from agent.kinds.virtual_machine.defaults import complete
from agent.kinds.virtual_machine_class.builtin import CLASSES

CATALOGUE = Catalogue.load()
CASES = Path(__file__).parent / "cases"
NOW = 1_700_000_000.0
FLEET = "golden"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CREATED = "2023-11-14T22:13:20Z"
DIGEST = "5" * 64
STORED, UNPACKED = 1 << 20, 1 << 30

NODE = RawNode(
    name="node-1",
    uri="qemu:///system",
    session=False,
    virt_type="qemu",
    machine="pc-q35-7.2",
    cpu_modes=frozenset({"maximum", "host-model", "custom"}),
    cpu_models=frozenset({"qemu64", "Nehalem"}),
    emulator="/usr/bin/qemu-system-x86_64",
    memory=64 << 30,
    cpus=16,
    libvirt_version="9.0.0",
    qemu_version="7.2.0",
    networks=frozenset({"default"}),
    legacy_machine="pc-i440fx-7.2",
    cpu_features=frozenset({"aes", "avx", "sse4.2"}),
)
LINKS = {
    "lan": Link(bridge="br0"),
    "office": Link(bridge="ovsbr0", vlan=20, virtualport="openvswitch"),
    "storage": Link(network="fast", portgroup="disks"),
    "guests": Link(bridge="br0", filter="clean-traffic"),
    **{f"lan-{number}": Link(bridge="br1") for number in range(20)},
}
NETWORKS = (RawNetwork("fast", "", active=True, port_groups=frozenset({"disks"})),)
SYSTEM_POOL = "/var/lib/libvirt/gitvirt"


def names() -> list[str]:
    return sorted(path.name for path in CASES.iterdir())


def manifests(name: str) -> tuple[Manifest, ...]:
    """The manifests of a case's folder, as an agent accepts them."""
    return accepted((CASES / name / "manifest.yaml").read_bytes())


def accepted(text: bytes) -> tuple[Manifest, ...]:
    found = read_file(CATALOGUE, CHECKS, text)
    assert not found.problems, found.problems
    known = {each.key: each for each in (*CLASSES, *found.manifests)}
    return tuple(
        complete(each, {}, known) if each.key.kind == "VirtualMachine" else each
        for each in found.manifests
    )


@dataclass
class Case:
    """A VM, what it refers to, and the host where all of that is ready."""

    manifests: tuple[Manifest, ...]
    node: RawNode = NODE
    pool: str = SYSTEM_POOL
    fleet: str = FLEET
    volumes: dict[str, RawVolume] = field(default_factory=dict)
    """What the host has to have, by name."""

    def __post_init__(self) -> None:
        self.engine = Engine(ORDER, decisions(CATALOGUE))
        self._put(known.FLEET, None, self.fleet)
        self._put(known.NODES, None, (self.node.name,))
        # nothing else leads out of a user's session
        self._put(known.NETWORKS, None, dict.fromkeys(LINKS, USER) if self.node.session else LINKS)
        for network in NETWORKS:
            self._put(known.NETWORK, (self.node.name, network.name), network)
        self._put(known.NODE, self.node.name, self.node)
        self._put(known.POOL_PATH, (self.node.name, POOL), self.pool)
        found = {each.key: each for each in (*CLASSES, *self.manifests)}
        for each in found.values():
            obj = Object(each, _uid(each.key), 1, CREATED, f"{COMMIT}:vms.yaml")
            if each.key.kind == "VirtualDisk":
                self._disk(obj)
            elif each.key.kind in ("VirtualImage", "ClusterVirtualImage"):
                self._image(obj)
            self._put(known.OBJECT, each.key, obj)
        (self.key,) = [each.key for each in self.manifests if each.key.kind == "VirtualMachine"]

    @property
    def uuid(self) -> str:
        return domain_uuid(self.fleet, self.key)

    def _put(self, table: Table[K, V], key: K, value: V | None) -> None:
        self.engine.put(table, key, value)

    def _disk(self, obj: Object) -> None:
        size = disk_spec(obj.spec)["persistentVolumeClaim"]["size"]
        self._volume(disk_volume(self.fleet, obj.key, obj.uid), to_bytes(size), STORED)

    def _image(self, obj: Object) -> None:
        """An image whose import has ended; the end of its address says what it is."""
        image_format = image_spec(obj.spec)["dataSource"]["http"]["url"].rpartition(".")[2]
        sizes = {"storedBytes": str(STORED), "unpackedBytes": str(UNPACKED)}
        status = {"phase": "Ready", "digest": DIGEST, "format": image_format, "size": sizes}
        self._put(known.STATUS, obj.key, status)
        self._volume(image_volume(self.fleet, DIGEST, image_format), UNPACKED, STORED)

    def _volume(self, name: str, capacity: int, physical: int) -> None:
        self.put_volume(RawVolume(POOL, name, f"{self.pool}/{name}", capacity, physical))

    def put_volume(self, volume: RawVolume) -> None:
        self.volumes[volume.name] = volume
        self._put(known.VOLUME, (self.node.name, volume.pool, volume.name), volume)
        self._put(known.VOLUME_AT, (volume.pool, volume.name), (self.node.name,))

    def decide(self, raw: RawDomain | None = None, now: float = NOW) -> Decision:
        """What is to be done about the VM; `raw` is what the host shows of it."""
        self._put(known.DOMAIN, (self.node.name, self.uuid), raw)
        self._put(known.DOMAIN_AT, self.uuid, (self.node.name,) if raw is not None else None)
        if raw is not None:
            self._put(known.DOMAIN_NAME, (self.node.name, raw.name), raw.uuid)
        self.engine.settle(now)
        decision = self.engine.decisions[self.key]
        previous: Mapping[str, Any] = self.engine.get(known.STATUS, self.key) or {}
        if decision.status is not None:
            self._put(known.STATUS, self.key, stamp(previous, decision.status, 1, now))
            self.engine.settle(now)
        return self.engine.decisions[self.key]

    def change(self, spec: Mapping[str, Any]) -> None:
        """Push a manifest with these fields of the VM's specification changed."""
        obj = self.engine.get(known.OBJECT, self.key)
        assert obj is not None
        content = {**obj.manifest.content, "spec": {**obj.spec, **spec}}
        changed = replace(obj.manifest, content=content)
        self._put(
            known.OBJECT, self.key, replace(obj, manifest=changed, generation=obj.generation + 1)
        )

    def xml(self) -> str:
        """The definition that the VM gets."""
        return definition(self.decide())


def definition(decision: Decision) -> str:
    (found,) = [each for each in decision.actions if isinstance(each, DefineDomain)]
    return found.xml


def _uid(key: Key) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(key)))
