"""A machine that is off, and that its node does not take, goes to another one to start there.
Nobody has to ask for that. What it has is copied from node to node while it is off; where it is,
and what is to be done, both nodes show (`core.migration`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.core.actions import Action
from agent.core.domain_xml import parse
from agent.core.facts import Passage, View
from agent.core.host import RawDomain, version
from agent.core.identity import serial
from agent.core.known import PLACED, WRITERS
from agent.core.metadata import Migration
from agent.core.migrating import NVRAM
from agent.core.model import Condition
from agent.core.moves import CarryDomain
from agent.core.placement.tenants import Ask
from agent.core.status import timestamp
from agent.kinds.local import Place, is_block, nodes, place, places, several
from agent.kinds.node import mind
from agent.kinds.virtual_disk import barring
from agent.kinds.virtual_machine.attachments import all_disks
from agent.kinds.virtual_machine.dependencies import disks
from agent.kinds.virtual_machine.files import elsewhere, lies
from agent.kinds.virtual_machine.migration.cargo import Cargo, cargo, common
from agent.kinds.virtual_machine.migration.crossing import Crossing
from agent.kinds.virtual_machine.placement import barred_by_node, handy
from agent.kinds.virtual_machine.situation import Situation

VERB = CarryDomain.__name__
NOT_GOING = "node(s) were not the one that it is being taken to"


def fixed(case: Situation, view: View) -> str:
    """Why it stays on its node while it is off, in a sentence; empty if it may leave."""
    raw = case.seen.raw
    if raw is None or case.seen.defined is None or not several(view):
        return "There is nothing of it that could go anywhere."
    if case.saved:
        return "Its state is saved on its node, and goes on from there."
    for tag, told in _STAYS.items():
        if tag in raw.inactive_xml:
            return f"{told}, which stays there."
    for disk in elsewhere(case.seen, case.fleet, case.at):
        return f"{lies(disk)}, as after a snapshot taken by hand."
    if has_nvram(case) and case.at.node.session:
        return "What its firmware remembers lies in its user's session, and stays there."
    if "<nvram" in raw.inactive_xml and not _as_usual(raw):
        return (
            "What its firmware remembers lies elsewhere than libvirt keeps it for a domain of its "
            "name, as after it was renamed, and stays there."
        )
    return ""


def _as_usual(raw: RawDomain) -> bool:
    """True if its definition names the file that is taken along, or none yet."""
    element = parse(raw.inactive_xml).find("os/nvram")
    if element is None or not (len(element) or (element.text or "").strip()):
        return True
    return (element.text or "").strip().startswith(f"{NVRAM}/{raw.name}_VARS.")


def has_nvram(case: Situation) -> bool:
    """True if its firmware may remember something."""
    return case.seen.memory is not None and bool(case.seen.memory.nvram)


_STAYS = {
    "<hostdev": "It has a device of its host",
    "<tpm": "It has a TPM, whose state is its host's",
}


def anywhere(case: Situation, view: View) -> Ask:
    """Its wish for a node to start on: its own, or one that it can be taken to."""
    vm, way = case.vm, case.where.way
    barred = dict(barred_by_node(vm, view))
    memory = case.seen.memory
    has = all_disks(vm, memory) if memory is not None else ()
    for disk in disks(vm, vm.spec):
        if disk not in has:
            barred |= barring(disk, vm.key, view)
    for to in places(view):
        if to.name != case.at.name and (why := _load(case, to, view).problem):
            barred[to.name] = why.rstrip(".")
    if way is not None:  # where it goes to is not chosen again and again
        others = {*nodes(view)} - {way.source, way.target}
        barred |= dict.fromkeys(others, NOT_GOING)
    return Ask(barred, handy(vm, view))


def _load(case: Situation, to: Place, view: View) -> Cargo:
    lot = cargo(replace(case.seen, active=None), case.at, to, view)
    if lot.problem:
        return lot
    for each in lot.freight:
        if is_block(view, case.at.name, each.pool) or is_block(view, to.name, each.pool):
            return Cargo(problem=f"Storage pool {each.pool} is a volume group of its node.")
    memory = case.seen.memory
    for disk in all_disks(case.vm, memory) if memory is not None else ():
        obj = view.object(disk)
        number = serial(obj.uid) if obj is not None else ""
        others = {*(view.read(WRITERS, (case.at.name, number)) or ())} - {case.uuid}
        if others:
            return Cargo(problem=f"VirtualDisk {disk.name} is one of another domain, too.")
    return lot


def setting_out(case: Situation, view: View) -> Migration | None:
    """The mark of its way to the node that was found for it; None where it stays."""
    memory, off = case.seen.memory, case.running is not None and not case.running.on
    if not off or memory is None or case.where.way is not None or case.deleted or case.job.busy:
        return None
    to = _found(case, view)
    if not to or fixed(case, view) or _disk_busy(case, view):
        return None
    return Migration("", case.at.name, to, int(case.now), memory.epoch, cold=True)


def _found(case: Situation, view: View) -> str:
    verdict = view.read(PLACED, case.vm.key)
    node = verdict.node if verdict is not None else ""
    return node if node != case.at.name and place(view, node) is not None else ""


def _disk_busy(case: Situation, view: View) -> bool:
    memory = case.seen.memory
    there = all_disks(case.vm, memory) if memory is not None else ()
    return any(view.job(disk).busy for disk in there)


def turn(mark: Migration) -> Passage:
    return Passage(mark.source, mark.target, begun=False, asked=timestamp(mark.at))


def is_wanted(case: Situation, view: View) -> bool:
    """True while it is to start, and to do so where it is being taken."""
    way, verdict = case.way, view.read(PLACED, case.vm.key)
    return (
        way is not None
        and not case.deleted
        and (case.running is None or not case.running.on)
        and verdict is not None
        and verdict.node == way.target
    )


def carried(case: Situation, view: View) -> tuple[Action, ...]:
    """Take it along; nothing where that cannot be done now."""
    way = case.way
    assert way is not None  # noqa: S101  # asked only then
    to = place(view, way.target)
    if to is None:
        return ()
    lot = _load(case, to, view)
    over = version(case.seen.raw)
    nodes_of = (way.source, case.uuid, way.source, way.target)
    every = common(case.seen, case.at, view)
    shared = tuple(each for each in every if not mind(way.source, way.target, each[0], view))
    return (CarryDomain(*nodes_of, over, lot.freight, nvram=has_nvram(case), shared=shared),)


def loaded(case: Situation, way: Crossing, view: View) -> Iterator[tuple[str, str]]:
    """Pool and name of all that may have been brought to the target."""
    to = place(view, way.target)
    if to is not None:
        yield from ((each.pool, each.name) for each in _load(case, to, view).freight)


def told(case: Situation, view: View) -> Condition:
    """Condition Migrating of one that is being taken along."""
    way, job = case.way, case.job
    assert way is not None  # noqa: S101  # asked only then
    where = f"from node {way.source} to node {way.target}"
    if way.why:
        return Condition("Migrating", "True", "InProgress", way.why)
    if not is_wanted(case, view):
        message = f"It stays on node {way.source}: it is not taken to node {way.target} any more."
        return Condition("Migrating", "True", "InProgress", message)
    if job.failed == VERB:
        message = f"It cannot be taken {where}: {job.error}"
        return Condition("Migrating", "True", "InProgress", message)
    done = f" {job.progress} % of its data is there." if VERB in job.busy else ""
    return Condition(
        "Migrating", "True", "InProgress", f"It is taken {where} while it is off.{done}"
    )
