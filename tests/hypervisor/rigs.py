"""Hosts under the same tests, and the manifests that these tests use: XML as plain as libvirt takes it."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.host import Host
from agent.core.metadata import NAMESPACE
from tests.hosts import Events, Session
from tests.memory_host import MemoryHost

LIBRARY = Path("/var/lib/libvirt")


@dataclass
class Rig:
    """A host, and what is its own. `events` listens from the start."""

    host: Host
    domain_type: str = "qemu"
    streams: bool = True
    """Whether volumes can be written and read."""
    session: Session | None = None
    """Of a host whose QEMU processes are real."""
    library: Path = LIBRARY
    """Where that folder of the host's machine is seen from here."""
    events: Events = field(init=False)

    def __post_init__(self) -> None:
        self.events = Events(self.host)

    def define(self, name: str = "web", *, vcpus: int = 1, note: str = "a", uuid: str = "") -> str:
        """Define a small domain with nothing to boot; its UUID."""
        uuid = uuid or str(uuids.uuid4())
        self.host.define(domain_xml(name, uuid, self.domain_type, vcpus, note))
        return uuid

    def running(self, name: str = "web") -> str:
        uuid = self.define(name)
        self.host.start(uuid)
        return uuid

    def state(self, uuid: str) -> str:
        domain = self.host.read_domain(uuid)
        return "gone" if domain is None else domain.state

    def content(self, pool: str, name: str) -> bytes:
        """The bytes of a volume's file."""
        if isinstance(self.host, MemoryHost):
            return self.host.pools[pool][name].content
        path = Path(self.host.read_volumes(pool)[pool, name].path)
        inside = path.is_relative_to(LIBRARY)
        return (self.library / path.relative_to(LIBRARY) if inside else path).read_bytes()


def domain_xml(
    name: str,
    uuid: str,
    domain_type: str = "qemu",
    vcpus: int = 1,
    note: str = "a",
    devices: str = "",
) -> str:
    return f"""
<domain type="{domain_type}">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata_xml(note)}</metadata>
  <memory unit="MiB">64</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <on_reboot>restart</on_reboot>
  <devices>{devices}</devices>
</domain>"""


def metadata_xml(note: str) -> str:
    return f'<gitvirt:vm xmlns:gitvirt="{NAMESPACE}" note="{note}"><gitvirt:power state="on"/></gitvirt:vm>'


def raw_volume(name: str) -> str:
    """A volume to upload to: it grows with what comes."""
    return f'<volume><name>{name}</name><capacity>0</capacity><allocation>0</allocation><target><format type="raw"/></target></volume>'


def disk_xml(path: str, serial: str) -> str:
    """A qcow2 volume as a disk."""
    return f"""
<disk type="file" device="disk">
  <driver name="qemu" type="qcow2"/><source file="{path}"/><target dev="vda" bus="virtio"/><serial>{serial}</serial>
</disk>"""


def overlay_volume(name: str, backing: str, capacity: int = 1 << 24) -> str:
    return f"""
<volume>
  <name>{name}</name>
  <capacity>{capacity}</capacity>
  <target><format type="qcow2"/><compat>1.1</compat></target>
  <backingStore><path>{backing}</path><format type="qcow2"/></backingStore>
</volume>"""
