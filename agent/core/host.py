"""What the rest of the program knows of a libvirt host: raw readings, and the verbs it can carry
out.

`agent.hypervisor` has the real one; the tests have one in memory. Both pass the same suite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agent.core.locking import Locks
from agent.core.migrating import Migrates
from agent.core.network import Held, NatNetwork, NetworkReading

if TYPE_CHECKING:  # loads lxml, which most commands need not
    from agent.core.backup import Backup, Source


@dataclass(frozen=True)
class RawDomain:
    """A domain as one read saw it. Reads that find nothing new return the same instance again."""

    uuid: str
    name: str
    state: str
    """libvirt's state: running, blocked, paused, shutdown (being shut down), shutoff, crashed,
    pmsuspended.
    """
    reason: str
    """libvirt's reason for `state` in lower case: booted, user, shutdown, destroyed, crashed,
    migrated, saved, failed, from-snapshot, unknown, ioerror, …
    """
    inactive_xml: str
    """The definition that the next start uses; empty for a transient domain."""
    active_xml: str = ""
    """The definition that runs; empty when the domain is off."""
    managed_save: bool = False
    stopped_by: str = ""
    """Who ended the last instance, where an event said so: guest, host (signal to QEMU), or empty
    if unknown.
    """
    rebooted: float = 0.0
    """When the guest of the running instance last rebooted without a new QEMU process (REBOOT
    event), in seconds since the epoch; 0 if it has not.
    """

    unread: bool = False
    """True of an instance whose QEMU process has left a command without an answer and that nobody
    has read before: newer versions of libvirt give its definitions once it answers or ends. Both
    are empty, and may say anything.
    """

    migrating: bool = False
    """True while a migration of it to another host may be under way. Asked only of a domain that
    bears the mark of one.
    """

    remembered: bool = False
    """True of one that a plan knows from the ledger alone: what runs has more than its XML says."""

    @property
    def starved(self) -> bool:
        """True if QEMU paused it: a write failed, for want of space where its disks lie."""
        return (self.state, self.reason) == ("paused", "ioerror")

    @property
    def active(self) -> bool:
        """True while there is a QEMU process."""
        return self.state not in ("shutoff", "crashed")

    @property
    def starting(self) -> bool:
        """True while its new QEMU process does not let the guest run yet. It may still fail: then
        there was no instance.
        """
        return self.state == "paused" and self.reason == "starting-up"


def version(raw: RawDomain | None) -> str:
    """A name for just these definitions of a domain, the next start's and the running one; it
    changes as soon as anybody changes either. Empty where there is no domain.
    """
    if raw is None:
        return ""
    return hashlib.sha256(f"{raw.inactive_xml}\0{raw.active_xml}".encode()).hexdigest()


@dataclass(frozen=True)
class RawVolume:
    pool: str
    name: str
    path: str
    capacity: int
    """Bytes that a guest sees."""
    physical: int
    """Bytes of the file itself: an upload is complete when it has as many as were sent."""
    backing_path: str = ""


@dataclass(frozen=True)
class GuestInfo:
    """What the guest agent said. `os` has the keys of status.guestOSInfo (id, name, prettyName,
    version, versionId, kernelRelease, kernelVersion, machine), each a string; addresses are IPv4
    and IPv6 without prefix, loopback left out, by MAC.
    """

    os: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RawNode:
    """Facts about a host that change rarely."""

    name: str
    uri: str
    session: bool
    """True for a user's own session: no CPU tuning, user-mode networking."""
    virt_type: str
    """kvm or qemu (software emulation)."""
    machine: str
    """The newest q35 machine type in full, e.g. pc-q35-7.2."""
    cpu_modes: frozenset[str]
    """Supported modes of `<cpu>`: host-passthrough, host-model, maximum, custom."""
    cpu_models: frozenset[str]
    """Models usable in mode custom."""
    emulator: str
    memory: int
    """Bytes."""
    cpus: int
    libvirt_version: str
    qemu_version: str
    networks: frozenset[str] = frozenset()
    """Names of active libvirt networks."""
    cpu_tuning: bool = True
    legacy_machine: str = "pc"
    """The newest i440fx machine type in full, e.g. pc-i440fx-7.2."""
    cpu_features: frozenset[str] = frozenset()
    """Features that guests can have and take along to a like node, as libvirt names them; empty
    where the host does not say.
    """
    host: str = ""
    """libvirt's UUID of the host: whatever it is called, it is the same one. Empty if unknown."""
    bridges: Mapping[str, bool] | None = None
    """The bridges that were asked for and are there, each with whether it is one of Linux; None
    where the host does not say.
    """
    filters: frozenset[str] | None = None
    """Names of libvirt's network filters, of which a user's session has none; None where the host
    does not say.
    """

    @property
    def libvirt(self) -> tuple[int, ...]:
        """The version of libvirt; empty if unknown."""
        parts = self.libvirt_version.split(".")
        return tuple(int(part) for part in parts) if all(map(str.isdecimal, parts)) else ()


@dataclass(frozen=True)
class Reading:
    """Everything that one full read of a host saw."""

    node: RawNode
    domains: Mapping[str, RawDomain]
    """By UUID."""
    volumes: Mapping[tuple[str, str], RawVolume]
    """By (pool, name), of the pools that were asked for. A pool that is missing or inactive has
    none.
    """
    pools: Mapping[str, str]
    """Target path of each active pool that was asked for, by its name."""
    types: Mapping[str, str] = field(default_factory=dict)
    """libvirt's type of each of them that is no plain directory (`dir`): netfs, logical, …"""
    networks: Mapping[str, NetworkReading] = field(default_factory=dict)
    """All of libvirt's networks, by name."""


@dataclass(frozen=True)
class HostEvent:
    """Something happened on a host. `uuid` is that of the domain; where it is empty, and no
    `network` is named, all of the host must be read again (reconnected).
    """

    node: str
    uuid: str
    what: str
    """lifecycle, reboot, agent, device, metadata, block-job, connected, disconnected, …"""
    network: str = ""
    """Of the network that it happened to."""


class HostError(Exception):
    """A verb or a read failed.

    `reason` is CamelCase; `retry` is False when the same call would fail again until somebody
    changes something.
    """

    def __init__(self, reason: str, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry = retry


MOUNTED = "DeviceMounted"
"""Reason for which a disk is not detached: its guest has it mounted."""
STILL_THERE = "DeviceStillThere"
"""Reason for which a device is not detached yet: its guest was asked and has not let go of it."""


class Host(Migrates, Locks, Protocol):
    """One libvirt host. Every method may raise HostError. Safe to call from several threads."""

    name: str

    def read(self, pools: frozenset[str]) -> Reading:
        """Read everything. Unchanged domains and volumes come back as the same instances as last
        time.
        """

    def read_domain(self, uuid: str) -> RawDomain | None:
        """Read one domain; None if there is none."""

    def read_volumes(self, pool: str) -> Mapping[tuple[str, str], RawVolume]:
        """Refresh and read one pool."""

    def read_network(self, name: str) -> NetworkReading | None:
        """Read one of libvirt's networks; None if there is none."""

    def read_bases(self) -> Mapping[str, str]:
        """What every volume of the host's active directory pools, whosever they are, is based on,
        by path; empty for those that are based on nothing.
        """

    def free_space(self, pool: str) -> int:
        """Refresh a pool; bytes that are free in it. 0 if it is missing or inactive."""

    def ensure_pool(self, pool: str) -> str:
        """Make the directory pool beside libvirt's default one if it is missing, start it, return
        its path.
        """

    def define(self, xml: str) -> None:
        """Define or redefine a domain, with validation against libvirt's schema. Autostart stays
        off.
        """

    def start(self, uuid: str, *, reset_nvram: bool = False) -> None:
        """Start a domain that is off. Fine if it runs already."""

    def shutdown(self, uuid: str) -> None:
        """Press the ACPI power button. Fine if the domain is off."""

    def destroy(self, uuid: str) -> None:
        """End the instance at once. Fine if the domain is off."""

    def resume(self, uuid: str) -> None:
        """Let a domain go on that is paused for lack of space. Fine if it is not, or if it is
        paused for another reason: that is left.
        """

    def undefine(self, uuid: str) -> None:
        """Remove a definition that is off, with its NVRAM, keeping every volume. Fine if there is
        none.
        """

    def attach_device(self, uuid: str, xml: str) -> None:
        """Give a running domain a device, given as it stands in a definition; its definition stays
        as it is.
        """

    def detach_device(self, uuid: str, device: str) -> None:
        """Take the disk with that serial number, or the interface with that MAC address, from a
        running domain; its definition stays as it is. Fine if it has none. It may take the guest a
        while to let go of it, and for an interface it is asked.
        """

    def copy_disk(self, uuid: str, serial: str, xml: str) -> None:
        """Begin to copy a disk of a running domain to the source that the XML of a disk names and
        that is there already. The domain's active XML shows the copy as long as it goes on, and
        when it is complete (`core.domain_xml.copies`).
        """

    def end_disk_copy(self, uuid: str, serial: str, *, pivot: bool) -> None:
        """End that copy: the domain goes on with it, in its definition too, or without it. Fails
        if it is to go on with one that is not complete. Fine if there is none.
        """

    def mounted(self, uuid: str) -> frozenset[str] | None:
        """Serial numbers of the disks that the guest says it has mounted; None if its agent does
        not answer.
        """

    def make_network(self, network: NatNetwork) -> None:
        """Have a definition of that network, with DHCP in all of its subnets. Of one that is there
        nothing is taken away, and one that runs goes on as it is. Fails with `NetworkForeign` where
        somebody else has made it.
        """

    def start_network(self, name: str) -> None:
        """Start a network, now and with the host. One that runs and is defined with more subnets
        than it serves is started anew; while anybody uses it this fails with `NetworkInUse`.
        """

    def hold_address(self, held: Held) -> None:
        """Have a network give a network card this address, now and after it is started anew, and no
        other one to what goes by that name. Fails with `AddressTaken` where it is held for somebody
        else, or another one for that card.
        """

    def release_address(self, held: Held) -> None:
        """Have a network not hold just this any more. Fine if it does not."""

    def set_live_metadata(self, uuid: str, xml: str) -> None:
        """Replace the running instance's metadata element of gitvirt's namespace."""

    def create_volume(self, pool: str, xml: str) -> RawVolume:
        """Create a volume. Fine if one of that name is there already: that one is returned."""

    def upload_volume(
        self, pool: str, name: str, chunks: Iterator[bytes], size: int, offset: int = 0
    ) -> RawVolume:
        """Write a volume's content, `size` bytes in all, and return it as it is then. What is there
        before `offset` stays, and is not among the chunks.
        """

    def read_volume(self, pool: str, name: str, take: Callable[[bytes], None]) -> RawVolume:
        """Hand a volume's whole content over, piece by piece, as its file has it. Whatever `take`
        raises ends it.
        """

    def copy_volume(
        self,
        pool: str,
        xml: str,
        source_pool: str,
        source: str,
        source_format: str,
        told: Callable[[int], None] = lambda _stored: None,
    ) -> RawVolume:
        """Create a volume with what another one shows to a guest, with none below it, at least as
        large as its XML says. `told` hears now and then, from a thread of its own, how many bytes
        are stored. Where this raises, a part of it may be there, and may even grow. Fails if the
        source looks like anything but that format, qcow2 or raw: a guest may have written a header
        that leads to others' files.
        """

    def delete_volume(self, pool: str, name: str) -> None:
        """Delete a volume. Fine if there is none. The caller has made sure that nothing uses it."""

    def resize_volume(self, pool: str, name: str, capacity: int) -> RawVolume:
        """Grow a volume that no running domain has open, and return it as it is then."""

    def grow_disk(self, uuid: str, pool: str, name: str, capacity: int) -> RawVolume:
        """Grow a volume that a running domain has open, through that domain, and return it as it is
        then. Fails while somebody copies or merges a disk of the domain.
        """

    def begin_backup(
        self, uuid: str, of: str, sources: Sequence[Source], *, required: bool
    ) -> None:
        """Begin to copy the disks of a running domain as they are at one moment, with its guest's
        file systems frozen: they are thawed at once, whatever becomes of the agent. Where they
        cannot be frozen, and are `required` to be, nothing is begun and `ConsistencyNotPossible` is
        raised. The running instance's mark says what became of it.
        """

    def backup(self, uuid: str) -> Backup | None:
        """What the domain shows of a backup; None if it does not run."""

    def await_backup(self, uuid: str, seconds: float) -> Backup | None:
        """As `backup`, as soon as no job is under way, or after so many seconds."""

    def end_backup(self, uuid: str, of: str) -> None:
        """Take back the mark of a backup, and end its job if that is under way. Fine if there is
        none of it.
        """

    def thaw(self, uuid: str) -> None:
        """Thaw the guest's file systems where a backup's mark says that they may be frozen. Fine if
        they are not.
        """

    def guest_info(self, uuid: str) -> GuestInfo | None:
        """Ask the guest agent; None if it does not answer in time."""

    def subscribe(self, callback: Callable[[HostEvent], None]) -> None:
        """Call back, from the event thread, for whatever happens. The callback must not block."""

    def close(self) -> None:
        """End connections and threads. Domains keep running."""
