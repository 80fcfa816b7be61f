"""A libvirt host in memory: definitions, instances and volumes behave as on a real one, and its guests do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from lxml import etree

from agent.core.backup import NAMESPACE as BACKUP
from agent.core.backup import TAG, Backup, Mark, Source, mark_of, mark_xml
from agent.core.domain_xml import copies, named, with_copy, without_copy
from agent.core.domain_xml import parse as parse_domain
from agent.core.host import GuestInfo, HostError, HostEvent, RawDomain, RawNode, RawVolume, Reading
from agent.core.metadata import NAMESPACE
from agent.core.migration import marked
from agent.core.network import NetworkReading
from tests.memory_migration import MemoryMigrations
from tests.memory_networks import DEFAULT, MemoryNetworks, network

_METADATA = f"{{{NAMESPACE}}}"
_UNITS = {"bytes": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
EXTENT = 4 << 20
"""Bytes in which LVM gives space out."""
_EMPTY_QCOW2 = 196_616
"""Bytes that a new overlay takes on a real host."""


class Killed(BaseException):
    """The agent dies at this instruction."""


NODE = RawNode(
    name="node-1",
    uri="memory:///node-1",
    session=False,
    virt_type="qemu",
    machine="pc-q35-7.2",
    cpu_modes=frozenset({"maximum", "host-model", "custom"}),
    cpu_models=frozenset({"qemu64", "Nehalem", "Westmere"}),
    emulator="/usr/bin/qemu-system-x86_64",
    memory=64 << 30,
    cpus=16,
    libvirt_version="9.0.0",
    qemu_version="7.2.0",
    networks=frozenset({"default"}),
    legacy_machine="pc-i440fx-7.2",
    cpu_features=frozenset({"aes", "avx", "sse4.2"}),
)


@dataclass
class Volume:
    """`content` is what was uploaded; a volume that was only created has `allocated` bytes."""

    path: str
    capacity: int
    backing_path: str = ""
    content: bytes = b""
    allocated: int = 0
    looks: str = "qcow2"
    """What its first bytes say that it is."""


class Piece(bytes):
    """Of a volume's file: where it is stored, libvirt finds in its header what the volume was."""

    of: Volume


@dataclass(frozen=True)
class Job:
    """What copies the disks of a domain into these files."""

    targets: tuple[str, ...]
    running: bool = True
    succeeded: bool = False
    error: str = ""


@dataclass
class MemoryHost(MemoryNetworks, MemoryMigrations):
    """Implements `Host`. What the tests turn and pull stands below the fields.

    `on_effect(verb, phase)` is called with phase "before" and "after" around every verb that changes something; whatever it
    raises comes out of the verb. A start has a "middle", too: its QEMU process is there, and its guest does not run yet. A
    HostError that is raised there makes the start fail; an agent that is killed there leaves it to the host, until the test
    says by `comes_up` or `start_fails` how it ends.
    """

    node: RawNode = NODE
    on_effect: Callable[[str, str], None] = lambda _verb, _phase: None
    guest_obeys: bool = True
    """Whether guests power off when the ACPI button is pressed."""
    guests: dict[str, GuestInfo] = field(default_factory=dict)
    """What each domain's guest agent answers, by UUID; without an entry there is no agent."""
    reachable: bool = True
    verbs: list[tuple[str, str]] = field(default_factory=list)
    """(verb, UUID or pool/volume) of every effect, in order."""
    pools: dict[str, dict[str, Volume]] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    starting_fails: set[str] = field(default_factory=set)
    """UUIDs whose start fails as with a broken QEMU."""

    groups: dict[str, str] = field(default_factory=dict)
    """Volume groups that are pools of LVM volumes, by pool."""
    free: int = 1 << 40
    """Bytes that are free in every pool."""
    needed: int = 0
    """Bytes without which a guest that is resumed is paused again at once."""
    layers: dict[str, str] = field(default_factory=dict)
    """What each file that was made by hand is based on, by path."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """The job that copies each domain's disks, or did last."""
    jobs_held: bool = False
    """True to have these jobs go on until a test ends them."""
    freezes: list[tuple[str, bool]] = field(default_factory=list)
    """Guests that were to be frozen, and whether they were."""
    mounts: dict[str, frozenset[str]] = field(default_factory=dict)
    """Serial numbers of disks that guests say they have mounted, by UUID."""
    copies_held: bool = False
    """True to have copies of disks go on until a test says that they are complete."""
    guest_lets_go: bool = True
    """False while a device that is detached stays where it is."""
    unplugged_bridges: set[str] = field(default_factory=set)
    """Bridges that nothing can be connected to, whatever `node` says of them."""

    networks: dict[str, NetworkReading] = field(default_factory=dict)
    """libvirt's networks; those that `node` says are active are as libvirt's own one."""
    mute: set[str] = field(default_factory=set)
    """Domains that cannot be read: their QEMU process does not answer."""
    minded: list[MemoryHost] = field(default_factory=list, repr=False)
    """Hosts whose locks on files this one minds: all that share their storage truly, in one list for all of them."""
    held: dict[str, str] = field(default_factory=dict)
    """Files that guests which never run have open, by their UUIDs."""

    def __post_init__(self) -> None:
        self.name = self.node.name
        for name in self.node.networks:
            self.networks.setdefault(name, NetworkReading(network(name, DEFAULT)))
        self._lock = threading.RLock()
        self._domains: dict[str, RawDomain] = {}
        self._uuids: dict[str, str] = {}
        """By name."""
        self._volumes: dict[tuple[str, str], RawVolume] = {}
        self._subscribers: list[Callable[[HostEvent], None]] = []

    # What a host offers.

    def read(self, pools: frozenset[str]) -> Reading:
        self._reach()
        with self._lock:
            volumes: dict[tuple[str, str], RawVolume] = {}
            for pool in sorted(pools):
                volumes.update(self.read_volumes(pool))
            paths = {pool: self._path(pool) for pool in pools if pool in self.pools}
            types = dict.fromkeys(self.groups.keys() & paths.keys(), "logical")
            domains = {uuid: self._shown(domain) for uuid, domain in self._domains.items()}
            return Reading(self.node, domains, volumes, paths, types, dict(self.networks))

    def read_domain(self, uuid: str) -> RawDomain | None:
        self._reach()
        domain = self._domains.get(uuid)
        return None if domain is None else self._shown(domain)

    def _shown(self, domain: RawDomain) -> RawDomain:
        if domain.uuid not in self.mute:
            going = domain.uuid in self.going and marked(domain)
            return replace(domain, migrating=True) if going else domain
        return RawDomain(domain.uuid, domain.name, domain.state, domain.reason, "", unread=True)

    def read_volumes(self, pool: str) -> Mapping[tuple[str, str], RawVolume]:
        self._reach()
        with self._lock:
            return {(pool, name): self._raw_volume(pool, name) for name in self.pools.get(pool, {})}

    def read_bases(self) -> Mapping[str, str]:
        self._reach()
        return {
            volume.path: volume.backing_path
            for pool in self.pools.values()
            for volume in pool.values()
        }

    def free_space(self, pool: str) -> int:
        self._reach()
        return self.free if pool in self.pools else 0

    def ensure_pool(self, pool: str) -> str:
        with self._effect("ensure_pool", pool):
            self.pools.setdefault(pool, {})
        return self._path(pool)

    def define(self, xml: str) -> None:
        root = _parse(xml)
        uuid, name = root.findtext("uuid", ""), root.findtext("name", "")
        if root.tag != "domain" or not uuid or not name:
            raise HostError(
                "InvalidDefinition",
                "cannot define the domain: it needs a name and a UUID",
                retry=False,
            )
        with self._effect("define", uuid, "lifecycle"):
            self._check_name(uuid, name)
            old = self._domains.get(uuid)
            if old is None:
                old = RawDomain(uuid, name, "shutoff", "unknown", "")
            self._put(replace(old, name=name, inactive_xml=_canonical(root)))

    def start(self, uuid: str, *, reset_nvram: bool = False) -> None:
        with self._effect("start", uuid):
            domain = self._get(uuid)
            if domain.active and not domain.starting:
                return
            if not domain.starting:
                self._spawn(domain)
                self._start(uuid)
            self.comes_up(uuid)

    def shutdown(self, uuid: str) -> None:
        with self._effect("shutdown", uuid):
            domain = self._domains.get(uuid)
            obeys = domain is not None and domain.active and self.guest_obeys
        if obeys:
            self.guest_poweroff(uuid)

    def hold_lock(self, uuid: str, path: str) -> bool:
        with self._effect("hold_lock", uuid):
            if self._locked(path):
                return False
            self.held[uuid] = path
            return True

    def _locked(self, path: str, uuid: str = "") -> bool:
        """True if another guest has the file open for writing, here or on a host that is minded."""
        for host in {id(each): each for each in (self, *self.minded)}.values():
            others = [raw for raw in host._domains.values() if host is not self or raw.uuid != uuid]
            if path in host.held.values() or any(_writes(raw, path) for raw in others):
                return True
        return False

    def destroy(self, uuid: str) -> None:
        if uuid in self.held:
            with self._effect("destroy", uuid):
                del self.held[uuid]
            return
        with self._effect("destroy", uuid):
            stopped = self._stop(uuid, "destroyed", "host")
        if stopped:
            self._tell(uuid, "lifecycle")

    def resume(self, uuid: str) -> None:
        with self._effect("resume", uuid):
            domain = self._domains.get(uuid)
            starved = domain is not None and domain.starved
        if starved:
            full = self.free < self.needed
            self._set(uuid, *(("paused", "ioerror") if full else ("running", "unpaused")))

    def undefine(self, uuid: str) -> None:
        with self._effect("undefine", uuid, "lifecycle"):
            domain = self._domains.get(uuid)
            if domain is not None and domain.active:
                raise HostError(
                    "DomainRunning", f"cannot undefine {domain.name}: it is running; stop it first"
                )
            if domain is not None:
                self.nvram.pop(domain.name, None)
            self._drop(uuid)

    def set_live_metadata(self, uuid: str, xml: str) -> None:
        with self._effect("set_live_metadata", uuid, "metadata"):
            domain = self._get(uuid)
            if not domain.active:
                raise HostError(
                    "InvalidState",
                    f"cannot write the metadata of domain {uuid}: domain is not running",
                )
            self._put(replace(domain, active_xml=_with_metadata(domain.active_xml, xml)))

    def attach_device(self, uuid: str, xml: str) -> None:
        device = _parse(xml)
        with self._effect("attach_device", uuid, "device"):
            domain = self._get(uuid)
            if not domain.active:
                raise HostError("InvalidState", f"domain {uuid} is not running")
            root = _parse(domain.active_xml)
            devices = root.find("devices")
            assert devices is not None
            if device.tag == "disk":
                name = _target(device)
                if any(_target(other) == name for other in devices.iterfind("disk")):
                    raise HostError("OperationFailed", f"target '{name}' duplicated")
            else:
                self._check_slot(device, devices)
            devices.append(device)
            self._put(replace(domain, active_xml=_canonical(root)))

    def _check_slot(self, device: etree._Element, devices: etree._Element) -> None:
        """As libvirt looks at the place of a PCI device, and at the bridge of an interface."""
        place = device.find("address")
        assert place is not None
        if any(other.attrib == place.attrib for other in devices.iterfind("*/address")):
            raise HostError("OperationFailed", "Attempted double use of PCI Address")
        buses = [each.get("index", "") for each in devices.iterfind("controller[@type='pci']")]
        if int(place.get("bus", ""), 16) not in map(int, buses):
            raise HostError("OperationFailed", f"there is no PCI controller {place.get('bus')}")
        source = device.find("source")
        if source is not None and source.get("bridge") in self.unplugged_bridges:
            raise HostError("OperationFailed", "Cannot get interface MTU: No such device")

    def detach_device(self, uuid: str, name: str) -> None:
        with self._effect("detach_device", uuid, "device"):
            domain = self._domains.get(uuid)
            if domain is None or not domain.active:
                return
            root = _parse(domain.active_xml)
            for device in (*root.findall("devices/disk"), *root.findall("devices/interface")):
                if named(device) == name and self.guest_lets_go:
                    parent = device.getparent()
                    assert parent is not None
                    parent.remove(device)
            self._put(replace(domain, active_xml=_canonical(root)))

    def copy_disk(self, uuid: str, serial: str, xml: str) -> None:
        with self._effect("copy_disk", uuid, "block-job"):
            domain = self._get(uuid)
            if not domain.active or serial in copies(parse_domain(domain.active_xml)):
                raise HostError("InvalidState", f"no disk of domain {uuid} can be copied")
            complete = not self.copies_held
            active = with_copy(domain.active_xml, serial, xml, complete=complete)
            self._put(replace(domain, active_xml=active))

    def end_disk_copy(self, uuid: str, serial: str, *, pivot: bool) -> None:
        with self._effect("end_disk_copy", uuid, "block-job"):
            domain = self._domains.get(uuid)
            if domain is None or not domain.active:
                return
            copy = copies(parse_domain(domain.active_xml)).get(serial)
            if copy is None:
                return
            if pivot and not copy.complete:
                raise HostError("InvalidState", f"the copy of disk {serial} is not complete")
            if pivot:
                old = self._at(_disk(_parse(domain.active_xml), serial))
                every = (each for pool in self.pools.values() for each in pool.values())
                new = next(each for each in every if each.path == copy.path)
                new.content = self._shown_by(old)
            active, inactive = without_copy(
                domain.active_xml, domain.inactive_xml, serial, pivot=pivot
            )
            self._put(replace(domain, active_xml=active, inactive_xml=inactive))

    def _at(self, disk: etree._Element) -> Volume:
        """The volume that a disk lies on."""
        source = disk.find("source")
        assert source is not None
        path = source.get("file") or source.get("dev")
        every = (each for pool in self.pools.values() for each in pool.values())
        return next(each for each in every if each.path == path)

    def copies_complete(self, uuid: str) -> None:
        """The copies of a domain's disks are complete."""
        domain = self._get(uuid)
        root = _parse(domain.active_xml)
        for mirror in root.iterfind("devices/disk/mirror"):
            mirror.set("ready", "yes")
        self._put(replace(domain, active_xml=_canonical(root)))
        self._tell(uuid, "block-job")

    def mounted(self, uuid: str) -> frozenset[str] | None:
        self._reach()
        return self.mounts.get(uuid)

    def create_volume(self, pool: str, xml: str) -> RawVolume:
        root = _parse(xml)
        name = root.findtext("name", "")
        with self._effect("create_volume", f"{pool}/{name}"):
            self._check_base(root.findtext("backingStore/path", ""))
            overlay = root.find("target/format[@type='qcow2']") is not None
            volume = Volume(
                path=f"{self._path(pool)}/{name}",
                capacity=self._whole(pool, _bytes(root.find("capacity"))),
                backing_path=root.findtext("backingStore/path", ""),
                allocated=_EMPTY_QCOW2 if overlay else _bytes(root.find("capacity")),
                looks="qcow2" if overlay else "raw",
            )
            self._pool(pool).setdefault(name, volume)
            return self._raw_volume(pool, name)

    def _check_base(self, path: str) -> None:
        """An overlay of what is in no pool of the host cannot be made."""
        folders = tuple(f"{self._path(pool)}/" for pool in self.pools)
        every = {each.path for pool in self.pools.values() for each in pool.values()}
        if path.startswith(folders) and path not in every:
            raise HostError("HypervisorError", f"inaccessible backing store volume {path}")

    def upload_volume(
        self, pool: str, name: str, chunks: Iterator[bytes], size: int, offset: int = 0
    ) -> RawVolume:
        with self._effect("upload_volume", f"{pool}/{name}"):
            volume = self._volume(pool, name)
            content, header = volume.content[:offset], None
            for chunk in chunks:
                content += chunk
                volume.content = content[:size]
                header = header or getattr(chunk, "of", None)
            if len(content) != size:
                reason = "UploadTooLong" if len(content) > size else "UploadIncomplete"
                raise HostError(
                    reason,
                    f"cannot write volume {name}: {len(content)} bytes came instead of {size}",
                )
            volume.capacity = max(volume.capacity, size)
            if header is not None:
                path = volume.path
                vars(volume).update(vars(header), path=path)
            return self._raw_volume(pool, name)

    def read_volume(self, pool: str, name: str, take: Callable[[bytes], None]) -> RawVolume:
        self._reach()
        volume = self._volume(pool, name)
        content = volume.content or bytes(volume.allocated)
        step = 4 if volume.content else max(len(content), 1)
        for start in range(0, len(content), step):
            piece = Piece(content[start : start + step])
            piece.of = replace(volume)
            take(piece)
        return self._raw_volume(pool, name)

    def copy_volume(
        self,
        pool: str,
        xml: str,
        source_pool: str,
        source: str,
        source_format: str,
        told: Callable[[int], None] = lambda _stored: None,
    ) -> RawVolume:
        root = _parse(xml)
        name = root.findtext("name", "")
        with self._effect("copy_volume", f"{pool}/{name}"):
            original = self._volume(source_pool, source)
            if source_format != original.looks:
                raise HostError("UnsafeVolume", f"volume {source} is not copied", retry=False)
            if name in self._pool(pool):
                raise HostError("InvalidState", f"volume {name} exists already")
            content = self._shown_by(original)
            half = Volume(f"{self._path(pool)}/{name}", original.capacity)
            wanted = root.find("target/format")
            half.looks = "raw" if wanted is None else wanted.get("type", "")
            half.content, half.allocated = content[: len(content) // 2], _EMPTY_QCOW2
            self._pool(pool)[name] = half
            if len(content) > self.free:
                raise HostError("NoSpace", f"cannot copy volume {source}: No space left on device")
            told(len(content) // 2)
            self.on_effect("copy_volume", "middle")
            half.content = content
            half.capacity = self._whole(pool, max(half.capacity, _bytes(root.find("capacity"))))
            return self._raw_volume(pool, name)

    def _shown_by(self, volume: Volume) -> bytes:
        """What a volume shows to a guest: its own content, else that of what it is based on."""
        every = (each for pool in self.pools.values() for each in pool.values())
        below = next((each for each in every if each.path == volume.backing_path), None)
        return volume.content or (self._shown_by(below) if below is not None else b"")

    def delete_volume(self, pool: str, name: str) -> None:
        with self._effect("delete_volume", f"{pool}/{name}"):
            self.pools.get(pool, {}).pop(name, None)
            self._volumes.pop((pool, name), None)

    def resize_volume(self, pool: str, name: str, capacity: int) -> RawVolume:
        with self._effect("resize_volume", f"{pool}/{name}"):
            volume = self._volume(pool, name)
            volume.capacity = max(volume.capacity, capacity)
            return self._raw_volume(pool, name)

    def grow_disk(self, uuid: str, pool: str, name: str, capacity: int) -> RawVolume:
        with self._effect("grow_disk", uuid):
            volume, domain = self._volume(pool, name), self._get(uuid)
            if f'"{volume.path}"' not in domain.active_xml:
                raise HostError("DiskNotThere", f"{domain.name} does not have {volume.path} open")
            job = self.jobs.get(uuid)
            if "<mirror" in domain.active_xml or (job is not None and job.running):
                raise HostError("DomainBusy", f"somebody copies a disk of {domain.name}")
            volume.capacity = max(volume.capacity, capacity)
            return self._raw_volume(pool, name)

    def begin_backup(
        self, uuid: str, of: str, sources: Sequence[Source], *, required: bool
    ) -> None:
        with self._effect("begin_backup", uuid):
            domain = self._get(uuid)
            self.freezes.append((uuid, uuid in self.guests))
            if required and uuid not in self.guests:
                raise HostError(
                    "ConsistencyNotPossible", f"the guest agent of {domain.name} does not answer"
                )
            consistent = uuid in self.guests
            self._write_mark(uuid, Mark(of, self.clock(), False, True, consistent))
            self.jobs[uuid] = Job(tuple(source.target for source in sources))
            if not self.jobs_held:
                self.job_ends(uuid)

    def backup(self, uuid: str) -> Backup | None:
        self._reach()
        domain = self._domains.get(uuid)
        if domain is None or not domain.active:
            return None
        job, mark = self.jobs.get(uuid), mark_of(domain.active_xml)
        if job is None:
            return Backup(mark, running=False, error="nobody knows")
        return Backup(mark, job.running, job.succeeded, job.error)

    def await_backup(self, uuid: str, seconds: float) -> Backup | None:
        return self.backup(uuid)

    def end_backup(self, uuid: str, of: str) -> None:
        with self._effect("end_backup", uuid):
            domain = self._domains.get(uuid)
            mark = None if domain is None else mark_of(domain.active_xml)
            if mark is None or mark.of != of:
                return
            if uuid in self.jobs and self.jobs[uuid].running:
                self.job_ends(uuid, "canceled")
            self._write_mark(uuid, None)

    def thaw(self, uuid: str) -> None:
        with self._effect("thaw", uuid):
            domain = self._domains.get(uuid)
            mark = None if domain is None else mark_of(domain.active_xml)
            if mark is not None and mark.frozen:
                self._write_mark(uuid, replace(mark, frozen=False) if mark.begun else None)

    def guest_info(self, uuid: str) -> GuestInfo | None:
        self._reach()
        domain = self._domains.get(uuid)
        return self.guests.get(uuid) if domain is not None and domain.active else None

    def subscribe(self, callback: Callable[[HostEvent], None]) -> None:
        self._subscribers.append(callback)

    def close(self) -> None:
        self._subscribers.clear()

    # What happens to a host.

    def begins(self, uuid: str) -> None:
        """Somebody begins to copy a domain's disks."""
        self.jobs[uuid] = Job(())
        self._tell(uuid, "block-job")

    def job_ends(self, uuid: str, error: str = "") -> None:
        """The job that copies a domain's disks ends. What it has copied by then stays."""
        job = self.jobs[uuid]
        for pool in self.pools.values():
            for volume in pool.values():
                if volume.path in job.targets:
                    volume.content = b"whole" if not error else b"half"
        self.jobs[uuid] = Job(job.targets, running=False, succeeded=not error, error=error)
        self._tell(uuid, "block-job")

    def _write_mark(self, uuid: str, mark: Mark | None) -> None:
        domain = self._get(uuid)
        root = _parse(domain.active_xml)
        metadata = root.find("metadata")
        assert metadata is not None
        for old in metadata.findall(f"{{{BACKUP}}}{TAG}"):
            metadata.remove(old)
        if mark is not None:
            element = etree.SubElement(metadata, f"{{{BACKUP}}}{TAG}")
            element.attrib.update(dict(_parse(mark_xml(mark)).attrib))
        self._put(replace(domain, active_xml=_canonical(root)))
        self._tell(uuid, "metadata")

    def comes_up(self, uuid: str) -> None:
        """A domain that starts up lets its guest run."""
        self._set(uuid, "running", "booted")

    def start_fails(self, uuid: str) -> None:
        """The QEMU process of a domain that starts up ends. libvirt tells nobody but who asked for the start."""
        self._stop(uuid, "failed", "")

    def guest_poweroff(self, uuid: str) -> None:
        """The guest powers itself off."""
        self._stop(uuid, "shutdown", "guest")
        self._tell(uuid, "lifecycle")

    def guest_reboot(self, uuid: str) -> None:
        """The guest reboots: the same process and the same definition go on."""
        with self._lock:
            self._put(replace(self._get(uuid), rebooted=self.clock()))
        self._tell(uuid, "reboot")

    def host_signal(self, uuid: str) -> None:
        """QEMU ends by a signal, as when the host shuts down."""
        self._stop(uuid, "shutdown", "host")
        self._tell(uuid, "lifecycle")

    def crash(self, uuid: str) -> None:
        """QEMU dies."""
        self._stop(uuid, "crashed", "")
        self._tell(uuid, "lifecycle")

    def lose_host(self) -> None:
        """The host restarts: everything is off, and nobody knows why."""
        self.disconnect()
        with self._lock:
            for domain in list(self._domains.values()):
                self._forget(domain)
        self.reconnect()

    def disconnect(self) -> None:
        self.reachable = False
        self._tell("", "disconnected")

    def reconnect(self) -> None:
        self.reachable = True
        self._tell("", "connected")

    def edit(
        self, uuid: str, change: Callable[[etree._Element], object], *, live: bool = False
    ) -> None:
        """Somebody edits the inactive definition, or with `live` the running one, as with virsh."""
        with self._lock:
            domain = self._get(uuid)
            root = _parse(domain.active_xml if live else domain.inactive_xml)
            change(root)
            text = _canonical(root)
            self._put(
                replace(domain, active_xml=text) if live else replace(domain, inactive_xml=text)
            )
        self._tell(uuid, "lifecycle")

    def snapshot(self, uuid: str, path: str, serial: str = "") -> None:
        """`virsh snapshot-create-as --disk-only --no-metadata`: a disk goes on in a file of its own, and no event tells of it.
        Without a serial number it is the first disk. A path in a pool is a volume there.
        """
        with self._lock:
            domain = self._get(uuid)
            inactive = _parse(domain.inactive_xml)
            self.layers[path] = base = _moved(inactive, path, serial)
            active = _parse(domain.active_xml) if domain.active_xml else None
            if active is not None:
                _moved(active, path, serial, layered=True)
            pool, _, name = path.removeprefix("/var/lib/libvirt/").partition("/")
            if pool in self.pools:
                self.pools[pool][name] = Volume(path, 0, base, allocated=_EMPTY_QCOW2)
            self._put(
                replace(
                    domain,
                    inactive_xml=_canonical(inactive),
                    active_xml="" if active is None else _canonical(active),
                )
            )

    def merge(self, uuid: str, serial: str = "") -> None:
        """`virsh blockcommit --active --pivot`: a running disk is on the file below again, and an event tells of it."""
        with self._lock:
            domain = self._get(uuid)
            active, inactive = _parse(domain.active_xml), _parse(domain.inactive_xml)
            below = _disk(active, serial).find("backingStore/source")
            assert below is not None
            base = below.get("file", "")
            _moved(active, base, serial)
            _moved(inactive, base, serial)
            self._put(
                replace(domain, inactive_xml=_canonical(inactive), active_xml=_canonical(active))
            )
        self._tell(uuid, "block-job")

    def pause(self, uuid: str, reason: str = "user") -> None:
        self._set(uuid, "paused", reason)

    def unpause(self, uuid: str) -> None:
        """Somebody lets it go on, as with virsh."""
        self._set(uuid, "running", "unpaused")

    # What holds it together.

    def _set(self, uuid: str, state: str, reason: str) -> None:
        with self._lock:
            self._put(replace(self._get(uuid), state=state, reason=reason))
        self._tell(uuid, "lifecycle")

    def _spawn(self, domain: RawDomain) -> None:
        new = replace(domain, state="paused", reason="starting-up", stopped_by="", rebooted=0.0)
        self._put(replace(new, active_xml=self._chained(domain.inactive_xml)))

    def _start(self, uuid: str) -> None:
        """What may go wrong before the guest runs."""
        try:
            self.on_effect("start", "middle")
        except HostError:
            self.start_fails(uuid)
            raise
        if uuid in self.starting_fails:
            self.start_fails(uuid)
            raise HostError("HypervisorError", f"cannot start domain {uuid}: QEMU ended at once")
        for path in _written(self._domains[uuid].active_xml) if self.minded else ():
            if self._locked(path, uuid):
                self.start_fails(uuid)
                raise HostError(
                    "HypervisorError", f'cannot start domain {uuid}: Failed to get "write" lock'
                )

    def _chained(self, xml: str) -> str:
        """What runs of a definition: libvirt lists the files below each disk."""
        if not self.layers:
            return xml
        root = _parse(xml)
        for disk in root.iterfind("devices/disk"):
            source = disk.find("source")
            path = "" if source is None else source.get("file", "")
            _list_below(disk, path, self.layers)
        return _canonical(root)

    def _forget(self, domain: RawDomain) -> None:
        self._drop(domain.uuid)
        if domain.inactive_xml:
            off = RawDomain(domain.uuid, domain.name, "shutoff", "unknown", domain.inactive_xml)
            self._put(replace(off, managed_save=domain.managed_save))

    def _stop(self, uuid: str, reason: str, by: str) -> bool:
        """False if it was off already."""
        with self._lock:
            domain = self._domains.get(uuid)
            if domain is None or not domain.active:
                return False
            off = replace(
                domain, state="shutoff", reason=reason, active_xml="", stopped_by=by, rebooted=0.0
            )
            self._put(off)
            if not domain.inactive_xml:
                self._drop(uuid)
            return True

    def _used(self, name: str) -> bool:
        running = (domain.active_xml for domain in self._domains.values() if domain.active)
        return any(f'network="{name}"' in xml for xml in running)

    def _effect(self, verb: str, subject: str, event: str = "") -> _Effect:
        return _Effect(self, verb, subject, event)

    def _reach(self) -> None:
        if not self.reachable:
            raise HostError("HostUnreachable", f"no connection to {self.node.uri}; trying again")

    def _tell(self, uuid: str, what: str, network: str = "") -> None:
        for callback in tuple(self._subscribers):
            callback(HostEvent(self.name, uuid, what, network))

    def _get(self, uuid: str) -> RawDomain:
        domain = self._domains.get(uuid)
        if domain is None:
            raise HostError("DomainNotFound", f"no domain with UUID {uuid}", retry=False)
        return domain

    def _put(self, domain: RawDomain) -> None:
        """Unchanged domains stay the same instance."""
        if self._domains.get(domain.uuid) != domain:
            self._drop(domain.uuid)
            self._domains[domain.uuid] = domain
            self._uuids[domain.name] = domain.uuid

    def _drop(self, uuid: str) -> None:
        old = self._domains.pop(uuid, None)
        if old is not None:
            del self._uuids[old.name]

    def _check_name(self, uuid: str, name: str) -> None:
        known = self._domains.get(uuid)
        taken = known.name if known is not None and known.name != name else name
        if self._uuids.get(taken, uuid) != uuid or taken != name:
            raise HostError(
                "HypervisorError",
                f"cannot define the domain: {taken} exists with UUID {self._uuids[taken]}",
            )

    def _path(self, pool: str) -> str:
        return f"/dev/{self.groups[pool]}" if pool in self.groups else f"/var/lib/libvirt/{pool}"

    def _whole(self, pool: str, size: int) -> int:
        """Bytes of a volume: LVM gives whole extents."""
        return -(-size // EXTENT) * EXTENT if pool in self.groups else size

    def _pool(self, pool: str) -> dict[str, Volume]:
        if pool not in self.pools:
            raise HostError("PoolNotFound", f"no storage pool {pool}", retry=False)
        return self.pools[pool]

    def _volume(self, pool: str, name: str) -> Volume:
        if name not in self._pool(pool):
            raise HostError(
                "VolumeNotFound", f"no volume {name} in storage pool {pool}", retry=False
            )
        return self.pools[pool][name]

    def _raw_volume(self, pool: str, name: str) -> RawVolume:
        volume = self.pools[pool][name]
        raw = RawVolume(
            pool,
            name,
            volume.path,
            volume.capacity,
            len(volume.content) or volume.allocated,
            volume.backing_path,
        )
        known = self._volumes.get((pool, name))
        if known != raw:
            self._volumes[pool, name] = raw
        return self._volumes[pool, name]


class _Effect:
    """One verb: reachable, recorded, exclusive, between its two hooks, and told to the subscribers when it went well."""

    def __init__(self, host: MemoryHost, verb: str, subject: str, event: str) -> None:
        self._host, self._verb, self._subject, self._event = host, verb, subject, event

    def __enter__(self) -> None:
        host = self._host
        host._reach()
        host.on_effect(self._verb, "before")
        host.verbs.append((self._verb, self._subject))
        host._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._host._lock.release()
        if kind is None:
            if self._event:
                self._host._tell(self._subject, self._event)
            self._host.on_effect(self._verb, "after")


def _parse(xml: str) -> etree._Element:
    try:
        return etree.fromstring(
            xml.encode(), etree.XMLParser(resolve_entities=False, remove_blank_text=True)
        )
    except etree.XMLSyntaxError as error:
        raise HostError("InvalidDefinition", f"not well-formed: {error}", retry=False) from error


def _writes(raw: RawDomain, path: str) -> bool:
    """True while its QEMU process has a lock on the file: one whose guest has not arrived yet has none."""
    here = raw.active and (raw.state, raw.reason) != ("paused", "migration")
    return here and path in _written(raw.active_xml)


def _written(xml: str) -> list[str]:
    """Files of the disks that may be written to."""
    if not xml:
        return []
    found = []
    for disk in _parse(xml).iterfind("devices/disk"):
        source = disk.find("source")
        if source is not None and disk.find("readonly") is None:
            found.append(source.get("file") or source.get("dev") or "")
    return found


def _disk(root: etree._Element, serial: str) -> etree._Element:
    found = [
        disk for disk in root.iterfind("devices/disk") if serial in ("", disk.findtext("serial"))
    ]
    return found[0]


def _list_below(layer: etree._Element, path: str, layers: Mapping[str, str]) -> None:
    below = etree.SubElement(layer, "backingStore")
    if path in layers:
        below.set("type", "file")
        etree.SubElement(below, "format", type="qcow2")
        etree.SubElement(below, "source", file=layers[path])
        _list_below(below, layers[path], layers)


def _moved(root: etree._Element, path: str, serial: str, *, layered: bool = False) -> str:
    """Put a disk on another file; with `layered` on top of the one that it had. Returns that one."""
    disk = _disk(root, serial)
    source, driver = disk.find("source"), disk.find("driver")
    assert source is not None
    assert driver is not None
    old = source.get("file", "")
    source.set("file", path)
    driver.set("type", "qcow2")
    store = disk.find("backingStore")
    if store is not None:
        disk.remove(store)
    if layered:
        below = etree.SubElement(disk, "backingStore", type="file")
        etree.SubElement(below, "format", type="qcow2")
        etree.SubElement(below, "source", file=old)
        below.append(etree.Element("backingStore") if store is None else store)
    return old


def _canonical(root: etree._Element) -> str:
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def _with_metadata(domain_xml: str, element_xml: str) -> str:
    """The domain with its element of gitvirt's namespace replaced; the element may come with or without the namespace."""
    root = _parse(domain_xml)
    element = deepcopy(_parse(element_xml))
    for each in element.iter(etree.Element):
        each.tag = _METADATA + etree.QName(each).localname
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for old in metadata.findall(_METADATA + "*"):
        metadata.remove(old)
    clean = etree.SubElement(metadata, element.tag, nsmap={"gitvirt": NAMESPACE})
    clean.attrib.update(dict(element.attrib))
    clean.text = element.text
    clean.extend(list(element))
    return _canonical(root)


def _bytes(element: etree._Element | None) -> int:
    if element is None or not element.text:
        return 0
    return int(element.text) * _UNITS[str(element.get("unit", "bytes"))]


def _target(disk: etree._Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")
