"""From what a domain is to be to what is done now, in order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.core.actions import (
    Action,
    DefineDomain,
    DeleteConsoleLog,
    DeleteSeed,
    DestroyDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    UndefineDomain,
    WriteSeed,
)
from agent.core.changes import applied
from agent.core.domain_xml import with_drivers, with_metadata
from agent.core.drift import brief
from agent.core.facts import View
from agent.core.host import version
from agent.core.identity import POOL, console_log, next_instance
from agent.core.known import VOLUME, VOLUMES_OF
from agent.core.metadata import Recorded, to_xml
from agent.core.migration import Step
from agent.core.quantity import to_bytes
from agent.kinds.virtual_machine import attachments, power, wiring
from agent.kinds.virtual_machine.definition import DomainFacts, render
from agent.kinds.virtual_machine.delivery import Holding
from agent.kinds.virtual_machine.elements.firmware import BIOS
from agent.kinds.virtual_machine.growth import Growth
from agent.kinds.virtual_machine.holding import held, held_for_start
from agent.kinds.virtual_machine.intent import Intent, can_start
from agent.kinds.virtual_machine.moving import moved
from agent.kinds.virtual_machine.plugging import beside, in_turn, plugs
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.space import resumed
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine.thawing import thawed

MIB = 1024 * 1024
MEDIUM = ".iso"
"""What the names of media end with."""


@dataclass(frozen=True)
class Deeds:
    """`wake` is when there will be more to do; `waiting` is True if something goes on by itself."""

    actions: tuple[Action, ...] = ()
    wake: float | None = None
    waiting: bool = False


def deeds(case: Situation, made: Intent, grows: Growth, view: View) -> Deeds:
    """What is to be done now. A definition is written before what it asks for is done."""
    hold = held(case, made.memory, view)
    if made.facts is None:
        # nothing is there yet, and what it needs is not ready; or only the definition is gone
        actions, wake = in_turn(case, grows.actions)
        return Deeds(actions or hold.actions, wake)
    written = _definition(case, made, view)
    if case.running is None:
        start = (_start(case, made, view),) if made.memory.power.on else ()
        return Deeds(hold.actions or (*written, *start))
    if not case.running.on:
        return _off(case, made, written, hold, view)
    end = _end(case, made, view)
    if any(isinstance(action, DestroyDomain) for action in end.actions):
        # nothing that needs an answer from QEMU stands before it
        return replace(end, actions=(*written, *end.actions))
    live = _live(case, made)
    plugged, retry = ((), None) if end.actions else plugs(case, made, view)
    copied = () if end.actions else moved(case)
    go_on, again = resumed(case, view)
    thaw, later = thawed(case)
    # alone, for a guest that cannot go on may still be asked to end
    actions = (*written, *live, *plugged, *copied, *end.actions)
    actions = actions or go_on or thaw or hold.actions or _sweep(case, made, view)
    grow, anew = in_turn(case, grows.actions)
    wakes = [wake for wake in (end.wake, again, later, retry, anew) if wake is not None]
    return replace(end, actions=actions or grow, wake=min(wakes, default=None))


def _definition(case: Situation, made: Intent, view: View) -> tuple[Action, ...]:
    facts = made.facts
    assert facts is not None  # noqa: S101  # asked only then
    if facts == case.seen.defined:
        return ()
    why = brief(made.drift.mended) or "metadata"
    over = version(case.seen.raw)
    define = DefineDomain(case.at.name, case.uuid, over, _xml(case, facts), why)
    return (*_media(case, view), define)


def _xml(case: Situation, facts: DomainFacts) -> str:
    """The definition as XML. Where only the metadata changes, the rest stays as it stands,
    but for how disks are read and written.
    """
    known, raw = case.seen.defined, case.seen.raw
    assert facts.metadata is not None  # noqa: S101  # what we define always has it
    if known is None or raw is None or replace(facts, metadata=known.metadata) != known:
        return render(facts)
    written = {disk.serial: disk.tuning for disk in known.disks.disks}
    drivers = {
        disk.serial: dict(disk.driver)
        for disk in facts.disks.disks
        if disk.tuning != written.get(disk.serial)
    }
    xml = with_metadata(raw.inactive_xml, facts.metadata)
    return with_drivers(xml, drivers) if drivers else xml


def _media(case: Situation, view: View) -> tuple[Action, ...]:
    """Store the medium of a definition that is about to be written. Only a definition that names
    it already proves that it is there whole: of how much there is to be, its size tells too little.
    """
    medium = case.needs.medium
    if medium is None or not medium.known or case.deleted or not case.needs.ready:
        return ()
    name = medium.volume(case.fleet, case.vm.uid)
    volume = view.read(VOLUME, (case.at.name, POOL, name))
    defined = case.seen.defined
    named = defined is not None and case.at.path(name) in (
        disk.path for disk in defined.disks.disks
    )
    if named and volume is not None and volume.physical >= MIB and volume.physical % MIB == 0:
        return ()
    uid, host = case.vm.uid, case.vm.key.name
    return (WriteSeed(case.at.name, POOL, name, uid, host, medium.sysprep, medium.files),)


def _start(case: Situation, made: Intent, view: View) -> StartDomain:
    memory = made.memory
    spec = machine_spec(memory.spec)
    wanted = spec["bootloader"]
    return StartDomain(
        case.at.name,
        case.uuid,
        to_bytes(spec["memory"]["size"]),
        reset_nvram=wanted != BIOS and memory.nvram not in ("", wanted),
        again=memory.power.by == power.BY_END,
        beside=tuple(beside(case, made.facts.disks.disks if made.facts else (), view)),
        holds=held_for_start(case, made.memory, view).wanted,
        instead_of=_instead_of(case),
    )


def _instead_of(case: Situation) -> str:
    """The lost node that may be back by now, as long as this one has never run in its place."""
    way = case.where.way
    return way.source if way is not None and way.step is Step.BEGIN else case.where.instead


def _off(
    case: Situation, made: Intent, written: tuple[Action, ...], hold: Holding, view: View
) -> Deeds:
    assert case.running is not None  # noqa: S101  # there is a domain
    if case.deleted and not case.leaving:
        return Deeds(written)
    if case.leaving:
        name, node = console_log(case.fleet, case.vm.uid), case.at.name
        undefine = UndefineDomain(node, case.uuid, version(case.seen.raw))
        return Deeds((undefine, DeleteConsoleLog(node, POOL, name, case.uuid)))
    if not power.start_due(made.memory, case.running) or not can_start(case, made.memory):
        return Deeds(written or hold.actions or _sweep(case, made, view))
    due = power.due_again(made.memory, case.job.starts, case.now)
    if due > case.now:
        return Deeds(written or hold.actions, wake=due, waiting=True)
    if not hold.ready:
        return Deeds(written or hold.actions, waiting=True)
    return Deeds((*written, _start(case, made, view)))


def _live(case: Situation, made: Intent) -> tuple[Action, ...]:
    """Write what changed without a restart into the running instance's metadata."""
    assert case.running is not None  # noqa: S101  # it is on
    if case.deleted or case.running.starting:
        return ()  # QEMU answers nothing before it is up
    active = case.seen.running
    if active is None:
        defined = case.seen.memory or made.memory
        lost = replace(
            made.memory,
            instance=next_instance(case.vm.uid, "unknown", case.now),
            spec=applied(defined.spec, case.sealed, made.pending),
        )
        return (SetLiveMetadata(case.at.name, case.uuid, to_xml(lost), ""),)
    merged = replace(
        active,
        labels=made.memory.labels,
        annotations=made.memory.annotations,
        spec=wiring.said(case, active, made.pending),
        attachments=attachments.running(made.memory.attachments, active, case.seen),
    )
    if merged == active:
        return ()
    return (SetLiveMetadata(case.at.name, case.uuid, to_xml(merged), active.instance),)


def _end(case: Situation, made: Intent, view: View) -> Deeds:
    """End the running instance, if it is to end: by the power button, later by force."""
    assert case.running is not None  # noqa: S101  # it is on
    memory = made.memory
    why = power.ending(memory, case.running)
    if why is None:
        return Deeds()
    node, instance = case.at.name, case.running.instance
    force = isinstance(why, Recorded) and why.force
    deadline = (
        why.at if force else why.at + machine_spec(case.vm.spec)["terminationGracePeriodSeconds"]
    )
    if case.now >= deadline:
        destroy = DestroyDomain(node, case.uuid, instance)
        again = memory.power.on and can_start(case, memory)
        again = (
            again
            and power.maintained(memory) is None
            and held_for_start(case, made.memory, view).ready
        )
        return Deeds((destroy, _start(case, made, view)) if again else (destroy,))
    if case.running.raw.state == "paused":  # nobody is there to hear the button
        return Deeds(wake=deadline, waiting=True)
    pressed = case.job.done.get("ShutdownDomain", 0.0)  # pragma: no mutate: long before any
    if pressed >= why.at and case.now < pressed + power.PRESS_EVERY:
        return Deeds(wake=min(deadline, pressed + power.PRESS_EVERY), waiting=True)
    return Deeds((ShutdownDomain(node, case.uuid, instance),), wake=deadline, waiting=True)


def _sweep(case: Situation, made: Intent, view: View) -> tuple[Action, ...]:
    """Delete media that no definition uses any more."""
    assert made.facts is not None  # noqa: S101  # asked only then
    if case.saved:
        return ()  # it may have another one than its definition says
    used = {disk.path for disk in made.facts.disks.disks}
    if case.seen.active:
        used |= {disk.path for disk in case.seen.active.disks.disks}
    names = view.read(VOLUMES_OF, (case.at.name, case.vm.uid)) or ()
    unused = [name for name in names if name.endswith(MEDIUM) and case.at.path(name) not in used]
    return tuple(DeleteSeed(case.at.name, POOL, name, case.uuid) for name in unused)
