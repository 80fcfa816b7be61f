"""Migrations: libvirt's own from host to host, which go on without whoever asked for them. Nothing
here decides; what becomes of one is read from both hosts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt

from agent.core.host import HostError, RawDomain
from agent.core.metadata import NAMESPACE, PREFIX
from agent.core.migrating import MIB, Nvram, Order, Transfer
from agent.core.migration import marked
from agent.core.model import Json
from agent.hypervisor import leaving
from agent.hypervisor.caller import Caller
from agent.hypervisor.errors import translate
from agent.hypervisor.remains import in_the_way, sweep
from agent.hypervisor.verbs import find, without_namespace

_FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_PAUSED
    # whether a folder is the same on both hosts the settings say: libvirt knows few file systems
    | libvirt.VIR_MIGRATE_UNSAFE
)
_PATIENCE = 5.0
"""Seconds after which a job that nobody can ask about counts as under way: its QEMU process may be
held up by the link.
"""
_SHORTEST_PAUSE = 0.05
_SIDE = "jobs"
_NVRAM = ("nvram",)
"""Lane of what makes a pool of the directory for a while."""
_GONE = (
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_NO_DOMAIN,
)


@dataclass
class _Call:
    """One that this process began, in a thread of its own."""

    ended: threading.Event = field(default_factory=threading.Event)
    error: HostError | None = None


class Migrations(Caller):
    """Part of `LibvirtHost`."""

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self._moving: dict[str, _Call] = {}

    def begin_migration(self, uuid: str, order: Order) -> None:
        call = _Call()

        def work() -> None:
            try:
                with self._link.fresh() as connection:
                    _send(connection, uuid, order)
            except libvirt.libvirtError as error:
                self._link.check()
                call.error = translate(error, f"migrate domain {uuid} to {order.peer}")
            except HostError as error:
                call.error = error
            finally:
                call.ended.set()

        self._moving[uuid] = call
        threading.Thread(target=work, name="libvirt-migration", daemon=True).start()

    def await_migration(self, uuid: str, seconds: float) -> Transfer:
        call = self._moving.get(uuid)
        if call is None:
            return self._await_others(uuid, seconds)
        if not call.ended.wait(seconds):
            return self._transfer(uuid) or Transfer(running=True)
        if self._under_way(uuid):  # only the link to whoever asked was lost
            return self._await_others(uuid, seconds)
        del self._moving[uuid]
        if call.error is not None:
            raise call.error
        return Transfer(running=False)

    def abort_migration(self, uuid: str) -> None:
        def abort(connection: libvirt.virConnect) -> None:
            domain = find(connection, uuid)
            if domain is None or not _migrates(domain):
                return
            with _unless_ended():
                domain.abortJob()

        self._verb(
            f"abort the migration of domain {uuid}", abort, self._deadlines.quick, None, _SIDE
        )

    def set_metadata(self, uuid: str, xml: str) -> None:
        def write(connection: libvirt.virConnect) -> None:
            domain = connection.lookupByUUIDString(uuid)
            element, where = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
            domain.setMetadata(element, without_namespace(xml), PREFIX, NAMESPACE, where)

        self._verb(
            f"write what domain {uuid} remembers", write, self._deadlines.quick, ("monitor", uuid)
        )

    def changed(self, pool: str, name: str) -> str:
        return self._read(
            f"look at volume {name} in storage pool {pool}",
            lambda connection: leaving.changed(connection, pool, name),
        )

    def snapshots(self, uuid: str) -> int:
        return self._read(
            f"look for snapshots of domain {uuid}",
            lambda connection: leaving.snapshots(connection, uuid),
        )

    def read_nvram(self, name: str) -> tuple[Nvram, ...]:
        return self._verb(
            f"read the NVRAM of domain {name}",
            lambda connection: leaving.read_nvram(connection, name),
            self._deadlines.storage,
            _NVRAM,
        )

    def write_nvram(self, name: str, files: Sequence[Nvram]) -> None:
        self._verb(
            f"write the NVRAM of domain {name}",
            lambda connection: leaving.write_nvram(connection, name, files),
            self._deadlines.storage,
            _NVRAM,
        )

    def go_on(self, uuid: str) -> None:
        def resume(connection: libvirt.virConnect) -> None:
            domain = connection.lookupByUUIDString(uuid)
            state: Json = domain.state()
            if state[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        self._verb(f"resume domain {uuid}", resume, self._deadlines.quick, ("monitor", uuid))

    def with_job(self, raw: RawDomain) -> RawDomain:
        """What was read of a domain, with whether a migration of it is under way."""
        if not (raw.active and marked(raw) and self._under_way(raw.uuid)):
            return raw
        return replace(raw, migrating=True)

    def _under_way(self, uuid: str) -> bool:
        call = self._moving.get(uuid)
        if call is not None and not call.ended.is_set():
            return True
        transfer = self._transfer(uuid)
        return transfer is None or transfer.running

    def _await_others(self, uuid: str, seconds: float) -> Transfer:
        """As long as an earlier agent's goes on, or one whose link was lost."""
        end = time.monotonic() + seconds
        while True:
            seen = self._transfer(uuid) or Transfer(running=True)
            left = end - time.monotonic()
            if not seen.running or left <= 0:
                return seen
            time.sleep(min(left, _SHORTEST_PAUSE))

    def _transfer(self, uuid: str) -> Transfer | None:
        """What the host says of it; None if it does not say."""

        def ask(connection: libvirt.virConnect) -> Transfer:
            domain = find(connection, uuid)
            return Transfer(running=False) if domain is None else _told(domain)

        try:
            return self._verb(
                f"look at the migration of domain {uuid}", ask, _PATIENCE, ("job", uuid), _SIDE
            )
        except HostError as error:
            if error.reason in ("Timeout", "NotResponding", "Busy"):
                return None
            raise


def _send(connection: libvirt.virConnect, uuid: str, order: Order) -> None:
    domain = connection.lookupByUUIDString(uuid)
    flags = _FLAGS
    given: dict[str, Any] = {}
    if order.uri:
        given[libvirt.VIR_MIGRATE_PARAM_URI] = order.uri
    if order.disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
        given[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(order.disks)
    if order.bandwidth:
        given[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(order.bandwidth // MIB, 1)
    if order.converge:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if order.downtime:
        domain.migrateSetMaxDowntime(order.downtime)
    parameters: Json = given
    try:
        domain.migrateToURI3(order.peer, parameters, flags)
    except libvirt.libvirtError as error:
        if in_the_way(error):  # the next attempt finds none
            sweep(domain)
        raise


def _told(domain: libvirt.virDomain) -> Transfer:
    stats: Json = {}
    with _unless_ended():
        stats = domain.jobStats(0)
    if stats.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
        return Transfer(running=False)
    return Transfer(
        running=stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE,
        total=stats.get("memory_total", 0) + stats.get("disk_total", 0),
        remaining=stats.get("memory_remaining", 0)
        + stats.get("disk_total", 0)
        - stats.get("disk_processed", 0),
        rounds=stats.get("memory_iteration", 0),
        throttle=stats.get("auto_converge_throttle", 0),
    )


def _migrates(domain: libvirt.virDomain) -> bool:
    return _told(domain).running


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """What has no job, or only takes one in, or is gone, says so."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise
