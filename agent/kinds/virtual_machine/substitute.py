"""A VM whose node is lost is started on another one where that cannot make it run twice: somebody
says that the node is off, its disks are the same on both, and each was seen to refuse what the
other has open. In all other cases it waits, and says for what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.core.acceptance import suspended
from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.known import DOMAIN, DOMAIN_AT, PLACED, SHARED, VOLUME
from agent.core.metadata import DomainMetadata
from agent.core.model import Json, Key, Object
from agent.core.nodes import HOME
from agent.core.placement.tenants import Ask
from agent.core.schema import Kind
from agent.kinds.exports import DiskData
from agent.kinds.local import away, nodes, place
from agent.kinds.node import NodeData, mind
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.dependencies import disks
from agent.kinds.virtual_machine.files import elsewhere, lies
from agent.kinds.virtual_machine.location import BETWEEN, Location
from agent.kinds.virtual_machine.migration.cargo import pool_of
from agent.kinds.virtual_machine.phase import ON, SAVED
from agent.kinds.virtual_machine.placement import NOWHERE, starting
from agent.kinds.virtual_machine.seen import Seen, seen
from agent.kinds.virtual_machine.spec import machine_spec

NO_LOCKS = "node(s) were not seen to refuse what node {} has open in storage pool {}"
NO_DATA = "node(s) did not have the image that its disk is based on"
OLDER = "node(s) had an older copy of it"
FENCE = (
    "As soon as somebody has made sure that it is off, `gitvirt node fence {}` says so, and it is "
    "started on another node."
)


def substituted(rules: Kind, vm: Object, uuid: str, where: Location, view: View) -> Location:
    """The same, or the node on which it is started instead."""
    lost = [node for node in where.lost if node in nodes(view)]
    if not lost or len(lost) < len(where.lost) or not _is_due(vm, view):
        return where
    there = view.read(DOMAIN_AT, uuid) or ()
    left = next((node for node in lost if node in there), lost[0])
    shown = seen(view.read(DOMAIN, (left, uuid)), rules)
    if why := next(_hindrances(vm, shown, left, view), ""):
        return replace(where, why=f"{where.why} {why}")
    if unsaid := next((node for node in lost if not _is_fenced(node, view)), ""):
        return replace(where, why=f"{where.why} {FENCE.format(unsaid)}")
    ask = _ask(vm, lost, there, view)
    chosen, verdict = _chosen(where, lost), view.read(PLACED, vm.key)
    node = chosen if view.job(vm.key).busy else verdict.node if verdict is not None else ""
    at = place(view, node) if node else None
    if at is None:
        why = NOWHERE.format(verdict.message) if verdict is not None else ""
        return replace(where, why=f"{where.why} {why}".strip(), ask=ask)
    return Location(
        at, BETWEEN.join((left, node)), ask=ask, instead=left, before=_remembered(vm, shown)
    )


def _is_due(vm: Object, view: View) -> bool:
    """True of one that was on, or was about to be."""
    previous, policy = view.previous(vm.key), machine_spec(vm.spec)["runPolicy"]
    if vm.deleted or suspended(vm.manifest) or policy == power.ALWAYS_OFF:
        return False
    if policy == power.ALWAYS_ON or previous.get("phase") in ON:
        return True
    begun = BETWEEN in previous.get(HOME, "")
    return previous.get("phase") == "Pending" and (begun or policy == power.UNLESS_STOPPED)


def _is_fenced(node: str, view: View) -> bool:
    data = view.export(NodeData, Key("Node", "", node))
    return data is not None and data.fenced


def _chosen(where: Location, lost: list[str]) -> str:
    """The node that was chosen before, on which something of it may be on its way."""
    return next((node for node in where.home.split(BETWEEN) if node not in lost), "")


def _remembered(vm: Object, shown: Seen) -> DomainMetadata | None:
    """What its domain remembered when it was read last."""
    memory = shown.memory or shown.running
    return memory if memory is not None and memory.uid == vm.uid else None


# -- what is in the way --------------------------------------------------------------------------


def _hindrances(vm: Object, shown: Seen, left: str, view: View) -> Iterator[str]:
    """Why nothing but its own node can start it, in sentences."""
    yield from _of_domain(vm, shown.raw, view)
    at = place(view, left)
    for disk in elsewhere(shown, view.fleet, at) if at is not None else ():
        yield f"{lies(disk)}, as after a snapshot taken by hand: it is started there alone."
    for key in disks(vm, vm.spec):
        yield from _of_disk(key, left, view)


def _of_domain(vm: Object, raw: RawDomain | None, view: View) -> Iterator[str]:
    told: dict[str, Json] = {each["type"]: each for each in _conditions(vm, view)}
    saved = told.get("Running", {}).get("reason") == SAVED
    if saved or (raw is not None and raw.managed_save):
        yield "Its state is saved there: it can go on from that there alone."
    if raw is None and told.get("DriftDetected", {}).get("status") == "True":
        yield "Somebody has changed it there by hand, and how, nobody can see: it waits for it."


def _conditions(vm: Object, view: View) -> list[Json]:
    listed: list[Json] = list(view.previous(vm.key).get("conditions", ()))
    return listed


def _of_disk(key: Key, left: str, view: View) -> Iterator[str]:
    data = view.export(DiskData, key)
    if data is None or data.pool not in (view.read(SHARED, None) or ()):
        yield (
            f"It is started nowhere else: its disk {key.name} lies on that node alone, or is not "
            "ready. Bring the node back, or give up what is on it: take it out of the setting "
            f"nodes, and say `gitvirt node forget {left}`."
        )
    elif data.moves_to is not None or data.instead_of:
        yield f"Its disk {key.name} was on its way to another storage pool: it waits for its node."


# -- where it may go -----------------------------------------------------------------------------


def _ask(vm: Object, lost: list[str], there: tuple[str, ...], view: View) -> Ask:
    ask = starting(vm, view)
    barred = dict(ask.barred)
    for node in nodes(view):
        if not away(view, node) and (why := next(_bars(vm, node, lost, there, view), "")):
            barred.setdefault(node, why)
    return replace(ask, barred=barred, rests=False)


def _bars(
    vm: Object, node: str, lost: list[str], there: tuple[str, ...], view: View
) -> Iterator[str]:
    if node in there:
        yield OLDER
    at = place(view, node)
    for key in disks(vm, vm.spec):
        data = view.export(DiskData, key)
        if data is None or at is None:
            continue
        for left in lost:
            if not mind(left, node, data.pool, view):
                yield NO_LOCKS.format(left, data.pool)
        raw = view.read(VOLUME, (node, data.pool, data.volume))
        base = raw.backing_path if raw is not None else ""
        pool = pool_of(base, at) if base else ""
        name = base.rpartition("/")[2]
        if base and (not pool or view.read(VOLUME, (node, pool, name)) is None):
            yield NO_DATA
