"""What a running instance gets and loses while it runs: disks that are attached to it beside those
of its spec, and interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agent.core.actions import Action, AttachDevice, DetachDevice
from agent.core.annotations import FORCE_DETACH
from agent.core.facts import View
from agent.core.host import version
from agent.core.jobs import held
from agent.core.known import DOMAIN, WRITERS
from agent.core.metadata import DomainMetadata
from agent.kinds.local import places
from agent.kinds.virtual_machine import attachments, wiring
from agent.kinds.virtual_machine.definition import disk_xml, interface_xml
from agent.kinds.virtual_machine.elements.disks import Disk
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.networks import called
from agent.kinds.virtual_machine.situation import Situation

Turn = tuple[tuple[Action, ...], float | None]
"""What is done now, and when there will be more to do."""


def plugs(case: Situation, made: Intent, view: View) -> Turn:
    """Attach and detach what the running instance lacks or has beside what it is to have, and when
    to try again what failed.
    """
    active = case.seen.running
    if case.deleted or active is None or made.facts is None or case.running is None:
        return (), None
    if case.running.starting:
        return (), None  # QEMU answers nothing before it is up
    interfaces = [*_disconnect(case, made, active), *_connect(case, made, active)]
    return in_turn(case, [*interfaces, *_attach(case, made, active, view), *_detach(case, active)])


def in_turn(case: Situation, actions: Sequence[Action]) -> Turn:
    """Deeds about several things without what waits for another try, and when that is due. What
    failed last comes last, and keeps nothing else waiting.
    """
    failing = case.job.about
    if held(case.job, case.vm.generation, case.now) and failing:
        left = tuple(action for action in actions if action.about not in failing)
        due = len(left) < len(actions) and case.job.retry
        return left, case.job.retry_at if due else None
    return tuple(sorted(actions, key=lambda action: action.about in failing)), None


def _connect(case: Situation, made: Intent, active: DomainMetadata) -> Iterator[AttachDevice]:
    assert made.facts is not None  # noqa: S101  # asked only then
    defined = {interface.mac: interface for interface in made.facts.interfaces.interfaces}
    for network in wiring.coming(case, active, made.pending):
        interface = defined.get(case.cabling.mac(network))
        if interface is not None:
            yield AttachDevice(
                case.at.name,
                case.uuid,
                active.instance,
                called(network),
                interface.mac,
                interface_xml(interface),
            )


def _disconnect(case: Situation, made: Intent, active: DomainMetadata) -> Iterator[DetachDevice]:
    for mac, name in wiring.going(case, active, made.pending):
        yield DetachDevice(case.at.name, case.uuid, active.instance, name, mac, force=True)


def _attach(
    case: Situation, made: Intent, active: DomainMetadata, view: View
) -> Iterator[AttachDevice]:
    assert made.facts is not None  # noqa: S101  # asked only then
    wanted = attachments.running(made.memory.attachments, active, case.seen)
    disks = {disk.serial: disk for disk in made.facts.disks.disks}
    for entry in wanted:
        disk = disks.get(entry.serial)
        if disk is None or attachments.has(case.seen, entry):
            continue
        yield AttachDevice(
            case.at.name,
            case.uuid,
            active.instance,
            f"{entry.kind} {entry.device}",
            entry.serial,
            disk_xml(disk),
            tuple(beside(case, (disk,), view)),
        )


def _detach(case: Situation, active: DomainMetadata) -> Iterator[DetachDevice]:
    """What nobody asks for any more. What the spec lists by now stays."""
    stays = case.attachments.serials | {device.serial for device in case.needs.devices}
    forced = case.vm.manifest.annotations.get(FORCE_DETACH)
    for entry in active.attachments:
        if entry.serial in stays or case.attachments.asks_for(entry):
            continue
        if attachments.has(case.seen, entry):
            yield DetachDevice(
                case.at.name,
                case.uuid,
                active.instance,
                f"{entry.kind} {entry.device}",
                entry.serial,
                force=forced == entry.name,
            )


def beside(case: Situation, disks: Iterable[Disk], view: View) -> Iterator[tuple[str, str, str]]:
    """Other domains that have a disk of this one, as they were read: with a snapshot taken by hand,
    of which no event tells, a disk's newest data is where only such a domain knows. And this one on
    other nodes, where it is not: somebody may move it there.
    """
    home = case.at.name
    for node in (home, *(at.name for at in places(view) if at.name != home)):
        writers = {
            uuid
            for disk in disks
            if not disk.readonly
            for uuid in view.read(WRITERS, (node, disk.serial)) or ()
        }
        others = writers - {case.uuid} if node == home else writers | {case.uuid}
        for uuid in sorted(others):
            yield node, uuid, version(view.read(DOMAIN, (node, uuid)))
