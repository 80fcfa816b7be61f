"""Who has a disk open, if anybody has: it decides how what the disk holds can be kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.core.actions import SnapshotSource
from agent.core.domain_xml import has_agent, parse
from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.identity import domain_uuid, serial, snapshot_volume
from agent.core.known import DOMAIN, ELSEWHERE, WRITERS
from agent.core.metadata import from_domain
from agent.core.model import Key
from agent.core.volumes import opened_by
from agent.kinds.local import away
from agent.kinds.virtual_disk import DiskData, users

FINAL = frozenset(("ConsistencyNotPossible", "NoSpace", "SnapshotFailed"))
"""Reasons of a failure after which nothing is tried again: somebody asked for this moment, and it
is over.
"""
NO_AGENT = "The guest's agent does not answer: the snapshot will be as after a power cut."
CONSISTENT = "consistent"
"""Field of a status, and of what a job finds out."""


def sentence(error: str) -> str:
    return f"{error[:1].upper()}{error[1:].rstrip('.')}."


@dataclass(frozen=True)
class Moment:
    """The state in which a disk can be kept. `why` says why it cannot be now, in a sentence."""

    why: str = ""
    waiting: bool = False
    """True if that passes by itself."""
    node: str = ""
    uuid: str = ""
    """The domain that has it open; empty if none has."""
    instance: str = ""
    agent: bool = False
    """True if the guest's agent is there."""
    source: SnapshotSource | None = None

    @property
    def where(self) -> tuple[str, str, str]:
        """Equal for disks that can be kept in one moment."""
        return self.node, self.uuid, self.instance


def moment(disk: Key, snapshot: Key, uid: str, view: View) -> Moment:
    """For a snapshot of that disk with that uid."""
    obj, data = view.object(disk), view.export(DiskData, disk)
    if obj is None:
        return Moment(f"{disk} is not there: the snapshot is taken once it is.")
    if data is None or obj.deleted:
        why = f"{disk} is not ready: see its conditions."
        return Moment(why, waiting=view.under_way(disk))
    source = _source(obj.uid, data, snapshot, uid, view.fleet)
    number = source.serial
    writers = list(_writers(number, data.paths, view))
    hindered = _hindered(disk, (raw for _, raw in writers), view)
    if hindered is not None:
        return hindered
    opened = [(node, raw) for node, raw in writers if number in opened_by(raw)]
    if not opened:
        return _off(data, source, view)
    node, raw = opened[0]
    memory = from_domain(parse(raw.active_xml))
    if len(opened) > 1 or raw.uuid not in _machines(disk, view) or memory is None:
        return Moment(f"Domain {raw.name}, which is not gitvirt's to touch, has the disk open.")
    return Moment(
        node=node,
        uuid=raw.uuid,
        instance=memory.instance,
        agent=has_agent(raw.active_xml),
        source=source,
    )


def _hindered(disk: Key, writers: Iterable[RawDomain], view: View) -> Moment | None:
    """Why nobody can tell, or say now, what the disk holds."""
    for vm in users(disk, view):
        if path := view.read(ELSEWHERE, (disk, vm)):
            return Moment(
                f"{disk} lies on {path} in {vm}, as after a snapshot taken by hand: it waits until "
                "that is merged."
            )
    for raw in writers:
        if raw.unread or raw.starting:
            why = f"Domain {raw.name} has the disk and starts, or does not answer."
            return Moment(why, waiting=True)
        if raw.managed_save and not raw.active:
            return Moment(f"Domain {raw.name} is saved with the disk open: start it.")
        if raw.starved:
            return Moment(f"Domain {raw.name} is paused: there is no space where its disks lie.")
    return None


def _off(data: DiskData, source: SnapshotSource, view: View) -> Moment:
    node = next((node for node in data.paths if not away(view, node)), "")
    if not node:
        return Moment("The disk's node cannot be read.", waiting=True)
    return Moment(node=node, source=source)


def _source(uid: str, data: DiskData, snapshot: Key, its_uid: str, fleet: str) -> SnapshotSource:
    target = snapshot_volume(fleet, snapshot, its_uid, data.format)
    return SnapshotSource(serial(uid), data.pool, data.volume, data.capacity, target, data.format)


def _writers(number: str, nodes: Iterable[str], view: View) -> Iterator[tuple[str, RawDomain]]:
    """Domains that may write to a disk, with their nodes."""
    for node in nodes:
        for uuid in view.read(WRITERS, (node, number)) or ():
            raw = view.read(DOMAIN, (node, uuid))
            if raw is not None:
                yield node, raw


def _machines(disk: Key, view: View) -> frozenset[str]:
    """UUIDs of the domains of the machines that have the disk, by right."""
    return frozenset(domain_uuid(view.fleet, vm) for vm in users(disk, view))
