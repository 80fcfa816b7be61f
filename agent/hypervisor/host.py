"""A libvirt host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import libvirt

from agent.core.backup import Backup, Source
from agent.core.host import GuestInfo, HostError, HostEvent, RawDomain, RawVolume, Reading
from agent.hypervisor import (
    backup,
    copying,
    devices,
    event_loop,
    growing,
    guest,
    storage,
    verbs,
)
from agent.hypervisor.deadlines import Deadlines
from agent.hypervisor.events import Watch
from agent.hypervisor.locking import Locking
from agent.hypervisor.migration import Migrations
from agent.hypervisor.network_verbs import NetworkVerbs
from agent.hypervisor.networks import NetworkReader
from agent.hypervisor.node import NodeReader
from agent.hypervisor.reading import DomainReader

SYSTEM_POOLS = "/var/lib/libvirt"


class LibvirtHost(NetworkVerbs, Migrations, Locking):
    """A libvirt host by its URI; without one, as virsh chooses. Without a name it bears the one
    that libvirt knows it by.

    The constructor connects. With a name given it does not fail if that is impossible now: it goes
    on trying in the background, as it does whenever the connection is lost, and says so by the
    events `disconnected` and `connected`; with `later` it does so from the first try on, and waits
    for nothing. `data_home` is the user's data directory, where a session of this machine keeps its
    pools. `bridges` are those that its reads look for.
    """

    def __init__(
        self,
        name: str | None = None,
        uri: str | None = None,
        *,
        data_home: Path | None = None,
        deadlines: Deadlines | None = None,
        later: bool = False,
        bridges: frozenset[str] = frozenset(),
    ) -> None:
        self._uri = uri
        self._data_home = data_home or Path("~/.local/share").expanduser()
        self._subscribers: list[Callable[[HostEvent], None]] = []
        self._watch = Watch(self._notify, lambda name: self._notify("", "network", name))
        self._domains = DomainReader(self._watch, event_loop.drain)
        self._volumes = storage.VolumeReader()
        self._networks = NetworkReader()
        self._node = NodeReader(name, bridges)
        super().__init__(
            uri, self._watch.register, lambda what: self._notify("", what), deadlines or Deadlines()
        )
        self.name = name or ""
        if later:
            self._link.connect_later()
        else:
            self._connect(name)

    def read(self, pools: frozenset[str]) -> Reading:
        seen = self._read("read the host", lambda connection: self._read_all(connection, pools))
        domains = {uuid: self.with_job(raw) for uuid, raw in seen.domains.items()}
        return replace(seen, domains=domains)

    def read_domain(self, uuid: str) -> RawDomain | None:
        raw = self._read(
            f"read domain {uuid}", lambda connection: self._domains.read_one(connection, uuid)
        )
        return None if raw is None else self.with_job(raw)

    def read_volumes(self, pool: str) -> Mapping[tuple[str, str], RawVolume]:
        reading = self._read(
            f"read storage pool {pool}", lambda connection: self._volumes.read(connection, pool)
        )
        return {} if reading is None else reading[2]

    def read_bases(self) -> Mapping[str, str]:
        return self._verb(
            "read the storage pools", storage.read_bases, self._deadlines.storage, ("pools",)
        )

    def free_space(self, pool: str) -> int:
        return self._read(
            f"read the free space of storage pool {pool}",
            lambda connection: storage.free_space(connection, pool),
        )

    def ensure_pool(self, pool: str) -> str:
        return self._verb(
            f"prepare storage pool {pool}",
            lambda connection: storage.ensure_pool(connection, pool, self._pools_home(connection)),
            self._deadlines.storage,
            ("pool", pool),
        )

    def define(self, xml: str) -> None:
        self._verb(
            "define the domain",
            lambda connection: verbs.define(connection, xml),
            self._deadlines.quick,
        )

    def start(self, uuid: str, *, reset_nvram: bool = False) -> None:
        self._verb(
            f"start domain {uuid}",
            lambda connection: verbs.start(connection, uuid, reset_nvram),
            self._deadlines.start,
            ("monitor", uuid),
        )

    def shutdown(self, uuid: str) -> None:
        self._verb(
            f"shut down domain {uuid}",
            lambda connection: verbs.shutdown(connection, uuid),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def destroy(self, uuid: str) -> None:
        # Not in the monitor's lane: libvirt ends a QEMU process also while another call waits for
        # its answer.
        self._verb(
            f"destroy domain {uuid}",
            lambda connection: verbs.destroy(connection, uuid),
            self._deadlines.destroy,
            ("destroy", uuid),
        )

    def resume(self, uuid: str) -> None:
        self._verb(
            f"resume domain {uuid}",
            lambda connection: verbs.resume(connection, uuid),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def undefine(self, uuid: str) -> None:
        self._verb(
            f"undefine domain {uuid}",
            lambda connection: verbs.undefine(connection, uuid),
            self._deadlines.quick,
        )

    def set_live_metadata(self, uuid: str, xml: str) -> None:
        self._verb(
            f"write the metadata of domain {uuid}",
            lambda connection: verbs.set_live_metadata(connection, uuid, xml),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def attach_device(self, uuid: str, xml: str) -> None:
        self._verb(
            f"attach a device to domain {uuid}",
            lambda connection: devices.attach(connection, uuid, xml),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def detach_device(self, uuid: str, device: str) -> None:
        self._verb(
            f"detach a device from domain {uuid}",
            lambda connection: devices.detach(connection, uuid, device),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def copy_disk(self, uuid: str, serial: str, xml: str) -> None:
        self._verb(
            f"copy a disk of domain {uuid}",
            lambda connection: devices.copy_disk(connection, uuid, serial, xml),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def end_disk_copy(self, uuid: str, serial: str, *, pivot: bool) -> None:
        self._verb(
            f"end the copy of a disk of domain {uuid}",
            lambda connection: devices.end_disk_copy(connection, uuid, serial, pivot=pivot),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def mounted(self, uuid: str) -> frozenset[str] | None:
        return self._asked(uuid, lambda connection: devices.mounted(connection, uuid))

    def create_volume(self, pool: str, xml: str) -> RawVolume:
        return self._verb(
            f"create a volume in storage pool {pool}",
            lambda connection: self._volumes.read_one(
                pool, storage.create_volume(connection, pool, xml)
            ),
            self._deadlines.storage,
        )

    def upload_volume(
        self, pool: str, name: str, chunks: Iterator[bytes], size: int, offset: int = 0
    ) -> RawVolume:
        sent = [0]

        def upload() -> RawVolume:
            with self._link.fresh() as connection:
                volume = storage.upload(connection, pool, name, chunks, size, sent, offset)
                return self._volumes.read_one(pool, volume)

        return self._run(
            f"write volume {name} in storage pool {pool}",
            upload,
            self._deadlines.stall,
            ("upload", pool, name),
            lambda: sent[0],
        )

    def read_volume(self, pool: str, name: str, take: Callable[[bytes], None]) -> RawVolume:
        taken = [0]

        def read() -> RawVolume:
            with self._link.fresh() as connection:
                volume = copying.read(connection, pool, name, take, taken)
                return self._volumes.read_one(pool, volume)

        return self._run(
            f"read volume {name} in storage pool {pool}",
            read,
            self._deadlines.stall,
            progress=lambda: taken[0],
        )

    def copy_volume(
        self,
        pool: str,
        xml: str,
        source_pool: str,
        source: str,
        source_format: str,
        told: Callable[[int], None] = lambda _stored: None,
    ) -> RawVolume:
        stored = [0]

        def copy() -> RawVolume:
            with self._link.fresh() as connection:
                volume = copying.copy(connection, pool, xml, source_pool, source, source_format)
                return self._volumes.read_one(pool, volume)

        with copying.followed(self._link.main, pool, xml, stored, told):
            return self._run(
                f"copy volume {source} of storage pool {source_pool} into storage pool {pool}",
                copy,
                self._deadlines.copy + copying.capacity(xml) / copying.SLOWEST,
                ("upload", pool, copying.name(xml)),
                lambda: stored[0],
            )

    def delete_volume(self, pool: str, name: str) -> None:
        self._verb(
            f"delete volume {name} in storage pool {pool}",
            lambda connection: storage.delete_volume(connection, pool, name),
            self._deadlines.storage,
        )

    def resize_volume(self, pool: str, name: str, capacity: int) -> RawVolume:
        return self._verb(
            f"resize volume {name} in storage pool {pool}",
            lambda connection: self._volumes.read_one(
                pool, storage.resize_volume(connection, pool, name, capacity)
            ),
            self._deadlines.storage,
        )

    def grow_disk(self, uuid: str, pool: str, name: str, capacity: int) -> RawVolume:
        return self._verb(
            f"grow volume {name} in storage pool {pool}",
            lambda connection: self._volumes.read_one(
                pool, growing.grow(connection, uuid, pool, name, capacity)
            ),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def begin_backup(
        self, uuid: str, of: str, sources: Sequence[Source], *, required: bool
    ) -> None:
        self._verb(
            f"begin a backup of domain {uuid}",
            lambda connection: backup.begin(connection, uuid, of, sources, required),
            self._deadlines.start,
            ("agent", uuid),
        )

    def backup(self, uuid: str) -> Backup | None:
        return self._verb(
            f"look at the jobs of domain {uuid}",
            lambda connection: backup.state(connection, uuid),
            self._deadlines.quick,
            ("monitor", uuid),
        )

    def await_backup(self, uuid: str, seconds: float) -> Backup | None:
        return backup.awaited(lambda: self.backup(uuid), seconds)

    def end_backup(self, uuid: str, of: str) -> None:
        self._verb(
            f"end a backup of domain {uuid}",
            lambda connection: backup.end(connection, uuid, of),
            self._deadlines.quick,
            ("agent", uuid),
        )

    def thaw(self, uuid: str) -> None:
        self._verb(
            f"thaw the guest of domain {uuid}",
            lambda connection: backup.thaw(connection, uuid),
            self._deadlines.guest,
            ("agent", uuid),
            "guest",
        )

    def guest_info(self, uuid: str) -> GuestInfo | None:
        def ask(connection: libvirt.virConnect) -> GuestInfo | None:
            domain = verbs.find(connection, uuid)
            return None if domain is None else guest.ask(domain)

        return self._asked(uuid, ask)

    def subscribe(self, callback: Callable[[HostEvent], None]) -> None:
        self._subscribers.append(callback)

    def close(self) -> None:
        self._subscribers.clear()
        self._link.close()

    def _connect(self, name: str | None) -> None:
        def first() -> str:
            return str(self._link.connect().getHostname())

        try:
            hostname = self._run("connect", first, self._deadlines.connect)
        except HostError:
            if name is None:
                self.close()
                raise
            self._link.connect_later()
        else:
            self.name = name or hostname

    def _read_all(self, connection: libvirt.virConnect, pools: frozenset[str]) -> Reading:
        domains = self._domains.read_all(connection)
        running = next((domain.uuid for domain in domains.values() if domain.active), None)
        node = self._node.read(connection, verbs.find(connection, running) if running else None)
        volumes: dict[tuple[str, str], RawVolume] = {}
        paths: dict[str, str] = {}
        types: dict[str, str] = {}
        for pool in sorted(pools):
            reading = self._volumes.read(connection, pool)
            if reading is not None:
                paths[pool], kind, found = reading
                volumes.update(found)
                if kind != storage.DIRECTORY:
                    types[pool] = kind
        networks = self._networks.read_all(connection)
        return Reading(node, domains, volumes, paths, types, networks)

    def _pools_home(self, connection: libvirt.virConnect) -> str | None:
        """Where libvirt's own default pool would stand; None for a session on another machine."""
        uri = urlsplit(connection.getURI())
        if not uri.path.endswith("/session"):
            return SYSTEM_POOLS
        return None if uri.hostname else str(self._data_home / "libvirt")

    def _notify(self, uuid: str, what: str, network: str = "") -> None:
        event = HostEvent(self.name, uuid, what, network)
        for callback in tuple(self._subscribers):
            callback(event)
