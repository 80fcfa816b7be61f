"""Verbs that keep what disks hold at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from agent.core.actions import DropSnapshot, SnapshotSource, TakeSnapshot, ThawGuest
from agent.core.backup import Backup, Source, mark_of, without_mark
from agent.core.host import Host, HostError, RawVolume, Reading
from agent.core.identity import unfinished
from agent.core.quantity import format_bytes
from agent.core.volumes import opened_by, users_of, volume_xml
from agent.reconcile.verbs.copying import MARK
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight, Verb
from agent.reconcile.verbs.volume import refuse
from agent.reconcile.world import DomainRead, Observation, VolumeRead

LOOK = 10.0
"""Seconds after which a job that goes on is asked for whether it still may."""
SPARE = 64 * 1024 * 1024
"""Bytes that a pool has to have free beyond what is copied."""
CONSISTENT = "consistent"
"""What a job's result says: whether the guest was at rest."""
Volumes = Mapping[tuple[str, str], RawVolume]


class Take(Verb[TakeSnapshot]):
    """All or nothing: as long as one volume is not whole, none is, and all are made anew, so that
    no two moments are mixed. A job that an agent has left behind goes on for its heir.
    """

    long = True

    @contextmanager
    def alone(self, action: TakeSnapshot, site: Site) -> Iterator[None]:
        with site.backup(action.uuid or action.uid):
            yield

    def stands(self, action: TakeSnapshot, sight: Sight) -> bool:
        if action.uuid:
            if not runs(sight, action.uuid, action.if_instance):
                raise _elsewhere(action)
            return True
        for pool in {disk.pool for disk in action.disks}:
            for node in sight.sharing(pool):
                _refuse_open(action, node.read(frozenset()))
        return True

    def perform(self, action: TakeSnapshot, site: Site) -> Done:
        if _whole(action.disks, _volumes(action.disks, site.node)):
            return _seen(action.disks, site, {})
        consistent = _backed_up(action, site) if action.uuid else _copied(action, site)
        if action.uuid:  # first, for who finds whole volumes does not come here again
            site.node.end_backup(action.uuid, action.uid)
        for disk in action.disks:
            site.node.delete_volume(disk.pool, unfinished(disk.target))
        return _seen(action.disks, site, {CONSISTENT: consistent})

    def simulate(self, action: TakeSnapshot, facts: Facts) -> Done:
        seen = []
        for disk in action.disks:
            path = f"{facts.path(disk.pool)}/{disk.target}"
            volume = RawVolume(disk.pool, disk.target, path, disk.capacity, 1)
            seen.append(VolumeRead(facts.name, disk.pool, disk.target, volume))
        return Done(tuple(seen), {CONSISTENT: True})

    def touches(self, action: TakeSnapshot) -> tuple[tuple[str, str], ...]:
        return ((action.node, action.uuid),) if action.uuid else ()


class Drop(Verb[DropSnapshot]):
    """Of what is whole by now nothing is dropped, nor what anything refers to."""

    def stands(self, action: DropSnapshot, sight: Sight) -> bool:
        half = False
        for pool, name in action.volumes:
            for node in sight.sharing(pool):
                seen = node.read(frozenset({pool}))
                refuse(users_of(name, seen.domains.values(), seen.volumes.values()))
                half = half or (pool, unfinished(name)) in seen.volumes
        return half

    def perform(self, action: DropSnapshot, site: Site) -> Done:
        for uuid, raw in site.node.read(frozenset()).domains.items():
            mark = mark_of(raw.active_xml)
            if mark is not None and mark.of == action.uid:
                site.node.end_backup(uuid, action.uid)
                _await_end(uuid, site)
        for pool, name in action.volumes:
            _remove(site.node, pool, name)
        return _gone(action, site.name)

    def simulate(self, action: DropSnapshot, facts: Facts) -> Done:
        return _gone(action, facts.name)


class Thaw(Verb[ThawGuest]):
    """Waits for a helper that may be about to do it."""

    def alone(self, action: ThawGuest, site: Site) -> AbstractContextManager[object]:
        return site.backup(action.uuid)

    def stands(self, action: ThawGuest, sight: Sight) -> bool:
        raw = sight.node.read_domain(action.uuid)
        mark = mark_of(raw.active_xml) if raw is not None else None
        frozen = mark is not None and mark.frozen
        return frozen and runs(sight, action.uuid, action.if_instance)

    def perform(self, action: ThawGuest, site: Site) -> Done:
        site.node.thaw(action.uuid)
        return Done()

    def simulate(self, action: ThawGuest, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None:
            return Done()
        thawed = replace(raw, active_xml=without_mark(raw.active_xml))
        return Done((DomainRead(0, facts.name, action.uuid, thawed),))

    def touches(self, action: ThawGuest) -> tuple[tuple[str, str], ...]:
        return ((action.node, action.uuid),)


# -- running -----------------------------------------------------------------------------------


def _backed_up(action: TakeSnapshot, site: Site) -> bool:
    """Whether the guest was at rest when the job began."""
    seen = site.node.backup(action.uuid)
    if seen is None:
        raise _elsewhere(action)
    ours = seen.mark is not None and seen.mark.of == action.uid and seen.mark.begun
    if seen.running and not ours:
        raise HostError("DomainBusy", "somebody's job copies the machine's disks: it waits")
    if not seen.running:
        _begin(action, site)
    return _finished(action, site)


def _begin(action: TakeSnapshot, site: Site) -> None:
    host = site.node
    host.end_backup(action.uuid, action.uid)  # what is left of one that was cut off
    volumes = _cleared(action, site)
    sources = []
    for disk in action.disks:
        _mark(host, disk)
        made = host.create_volume(disk.pool, volume_xml(disk.target, disk.format, disk.capacity))
        path = volumes[disk.pool, disk.volume].path
        sources.append(Source(disk.serial, path, made.path, disk.format))
    site.check()
    try:
        host.begin_backup(action.uuid, action.uid, sources, required=action.required)
    except HostError as error:
        if error.reason in ("BackupInterrupted", "Timeout"):
            raise  # whether it has begun is seen next time
        _give_up(action, host)
        raise


def _finished(action: TakeSnapshot, site: Site) -> bool:
    """Wait for the job's end. Whoever has to leave it leaves it to whoever comes next."""
    seen = _await_end(action.uuid, site)
    if seen is not None and seen.succeeded and seen.mark is not None:
        return seen.mark.consistent
    why = "the machine has ended before its disks were copied" if seen is None else seen.error
    site.node.end_backup(action.uuid, action.uid)
    _give_up(action, site.node)
    raise HostError("SnapshotFailed", f"the disks could not be copied: {why}")


def _await_end(uuid: str, site: Site) -> Backup | None:
    while (seen := site.node.await_backup(uuid, LOOK)) is not None and seen.running:
        site.check()
    return seen


# -- off ---------------------------------------------------------------------------------------


def _copied(action: TakeSnapshot, site: Site) -> bool:
    host = site.node
    _cleared(action, site)
    for disk in action.disks:
        _mark(host, disk)
    for disk in action.disks:
        site.check()
        xml = volume_xml(disk.target, disk.format, disk.capacity)
        try:
            host.copy_volume(disk.pool, xml, disk.pool, disk.volume, disk.format)
            for node in site.sharing(disk.pool):
                _refuse_open(action, node.read(frozenset()))
        except HostError:
            _give_up(action, host)
            raise
    return True


def _refuse_open(action: TakeSnapshot, seen: Reading) -> None:
    for raw in seen.domains.values():
        if raw.unread or any(disk.serial in opened_by(raw) for disk in action.disks):
            raise OutdatedError("DiskInUse", f"domain {raw.name} has a disk of it open by now")


# -- volumes -----------------------------------------------------------------------------------


def _cleared(action: TakeSnapshot, site: Site) -> Volumes:
    """The volumes that are there, once nothing is left of an earlier try. Fails where there is no
    room for the new ones.
    """
    host = site.node
    volumes = _volumes(action.disks, host)
    for disk in action.disks:
        if (disk.pool, disk.volume) not in volumes:
            raise HostError("VolumeNotFound", f"volume {disk.volume} is not there any more")
        if (disk.pool, disk.target) in volumes or (disk.pool, unfinished(disk.target)) in volumes:
            _remove(host, disk.pool, disk.target)
    for pool in {disk.pool for disk in action.disks}:
        needed = sum(_stored(volumes, disk) for disk in action.disks if disk.pool == pool) + SPARE
        free = host.free_space(pool)
        if free < needed:
            raise HostError(
                "NoSpace",
                f"storage pool {pool} of node {site.name} has {format_bytes(free)} free, and the "
                f"snapshot may take {format_bytes(needed)}: make room, and take another one",
            )
    return volumes


def _stored(volumes: Volumes, disk: SnapshotSource) -> int:
    """Bytes that a flat copy may take: what the disk has stored, and all that it is based on."""
    by_path = {volume.path: volume for volume in volumes.values()}
    stored, layer = 0, volumes.get((disk.pool, disk.volume))
    while layer is not None:
        stored += layer.physical
        layer = by_path.pop(layer.backing_path, None)
    return min(stored, disk.capacity)


def _volumes(disks: Iterable[SnapshotSource], host: Host) -> Volumes:
    volumes: dict[tuple[str, str], RawVolume] = {}
    for pool in sorted({disk.pool for disk in disks}):
        volumes.update(host.read_volumes(pool))
    return volumes


def _whole(disks: Iterable[SnapshotSource], volumes: Volumes) -> bool:
    return all(
        (disk.pool, disk.target) in volumes and (disk.pool, unfinished(disk.target)) not in volumes
        for disk in disks
    )


def _mark(host: Host, disk: SnapshotSource) -> None:
    host.create_volume(disk.pool, volume_xml(unfinished(disk.target), "raw", MARK))


def _give_up(action: TakeSnapshot, host: Host) -> None:
    for disk in action.disks:
        _remove(host, disk.pool, disk.target)


def _remove(host: Host, pool: str, name: str) -> None:
    host.delete_volume(pool, name)
    host.delete_volume(pool, unfinished(name))


def _seen(disks: Iterable[SnapshotSource], site: Site, result: Mapping[str, bool]) -> Done:
    volumes = _volumes(disks, site.node)
    seen: list[Observation] = []
    for disk in disks:
        volume = volumes.get((disk.pool, disk.target))
        seen.append(VolumeRead(site.name, disk.pool, unfinished(disk.target), None))
        seen.append(VolumeRead(site.name, disk.pool, disk.target, volume))
    return Done(tuple(seen), result)


def _gone(action: DropSnapshot, node: str) -> Done:
    names = [
        pair for pool, name in action.volumes for pair in ((pool, name), (pool, unfinished(name)))
    ]
    return Done(tuple(VolumeRead(node, pool, name, None) for pool, name in names))


def _elsewhere(action: TakeSnapshot) -> OutdatedError:
    message = "another instance of the machine has its disks by now: deciding anew"
    return OutdatedError("InstanceChanged", message, ((action.node, action.uuid),))
