"""Whether a VM can be moved while it runs, and where to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.core.backup import mark_of
from agent.core.facts import View
from agent.core.host import RawNode
from agent.core.known import NETWORK, PEERS, PLACED
from agent.core.model import Condition, Key
from agent.core.placement.fleet import told
from agent.kinds.local import Place, nodes, place, places, several
from agent.kinds.uplink import uplink
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.files import elsewhere, lies
from agent.kinds.virtual_machine.migration.cargo import Cargo, cargo
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_class import ClassData

NO, DISKS, DEVICES = (
    "VirtualMachineNonMigratable",
    "VirtualMachineDisksNotMigratable",
    "VirtualMachineHostDevicesNotMigratable",
)
YES, ALONG = "VirtualMachineMigratable", "VirtualMachineDisksShouldBeMigrating"
EMULATED, _MENDED = "qemu", 9
_LOSES = (
    "QEMU {} can lose what an emulated guest writes while it is moved: seldom, it crashes "
    "afterwards. QEMU 9.0 does not, and nor does hardware virtualization."
)
_VERSION = re.compile(r"-([0-9]+)\.([0-9]+)\Z")


@dataclass(frozen=True)
class Chosen:
    """`node` is empty where there is none; then `why` says why."""

    node: str = ""
    cargo: Cargo = field(default_factory=Cargo)
    why: str = ""


def fixed(case: Situation, view: View) -> tuple[str, str]:
    """Reason and sentence for which it stays where it is, wherever else there is room; empty if
    nothing of that kind is in the way.
    """
    raw, active = case.seen.raw, case.seen.active
    if not several(view):
        return NO, "There is no other node that it could go to."
    if case.at.node.session:
        return NO, "libvirt moves no machines of a user's session."
    if raw is not None and "<hostdev" in raw.active_xml:
        return DEVICES, "It has a device of its host, which stays there."
    if active is not None and active.cpu.mode == "host-passthrough":
        return NO, (
            "Its processor is its host's own, which guests cannot take along: a class of type "
            "Discovery, Model or Features has one that they can."
        )
    for disk in elsewhere(case.seen, case.fleet, case.at):
        return DISKS, f"{lies(disk)}, as after a snapshot taken by hand: it cannot be copied along."
    return "", ""


def busy(case: Situation) -> str:
    """Why it cannot leave just now, in a sentence; empty if it can."""
    if case.seen.block_job:
        return "A disk of it is being copied or backed up."
    raw = case.seen.raw
    if raw is not None and mark_of(raw.active_xml) is not None:
        return "A snapshot of its disks is being taken."
    return ""


def chosen(case: Situation, view: View) -> Chosen:
    """The node that it was given for an operation that asks for one."""
    verdict = view.read(PLACED, case.vm.key)
    if verdict is None:
        return Chosen(why="A node is being looked for.")
    to = place(view, verdict.node) if verdict.node else None
    if to is None:
        return Chosen(why=verdict.message)
    return Chosen(to.name, cargo(case.seen, case.at, to, view))


def barred(case: Situation, view: View) -> dict[str, str]:
    """Nodes that it cannot go to, whoever else is there, and why."""
    return {name: why for name, (why, _) in _others(case, view).items() if why}


def _others(case: Situation, view: View) -> dict[str, tuple[str, Cargo]]:
    """Each other node that can be read: why it cannot go there, and what would go along."""
    found = {}
    for to in places(view):
        if to.name != case.at.name:
            lot = cargo(case.seen, case.at, to, view)
            found[to.name] = next(_refusals(case, to, lot, view), ""), lot
    return found


def _refusals(case: Situation, to: Place, lot: Cargo, view: View) -> Iterator[str]:
    spec = machine_spec(case.vm.spec)
    if to.name not in (view.read(PEERS, None) or {}):
        yield "node(s) have no `peer` in the settings, by which other hosts reach them"
    if lot.problem:
        yield lot.problem.rstrip(".")
    data = view.export(ClassData, Key("VirtualMachineClass", "", spec.get(CLASS, "")))
    if data is not None and to.name not in data.cpus:
        yield "node(s) cannot give the CPU of the machine's class"
    if to.node.virt_type != case.at.node.virt_type:
        yield "node(s) have another kind of virtualization"
    if case.seen.active is not None and _newer(case.seen.active.firmware.machine, to):
        yield "node(s) have an older QEMU, which does not know the machine's type"
    lacking = {
        each.link.network
        for each in (case.seen.active.interfaces.interfaces if case.seen.active else ())
        if each.type == "network" and not _has_network(each.link.network, to, view)
    }
    if lacking:
        yield f"node(s) lack network {', '.join(sorted(lacking))}"


def _has_network(name: str, to: Place, view: View) -> bool:
    """True also of the one that the agent makes there before the machine comes."""
    raw = view.read(NETWORK, (to.name, name))
    if raw is not None and raw.active:
        return True
    up = uplink(view, to)
    return up.own is not None and up.own.name == name and not up.problem("")


def _newer(machine: str, to: Place) -> bool:
    """True if a node's QEMU is older than a machine's type."""
    mine = _VERSION.search(machine)
    theirs = _VERSION.search(to.node.machine)
    if mine is None or theirs is None:
        return False
    return (int(mine[1]), int(mine[2])) > (int(theirs[1]), int(theirs[2]))


def migratable(case: Situation, view: View) -> Condition:
    """Condition Migratable of a machine that runs."""
    reason, why = fixed(case, view)
    if why:
        return Condition("Migratable", "False", reason, why)
    others = _others(case, view)
    lots = [lot for why, lot in others.values() if not why]
    if not lots:
        why = told({name: why for name, (why, _) in others.items()}, len(nodes(view)) - 1)
        return Condition("Migratable", "False", NO, why)
    reason, message = (ALONG, "Its local disks are copied along.") if lots[0].disks else (YES, "")
    if _loses(case.at.node):
        message = f"{message} {_LOSES.format(case.at.node.qemu_version)}".strip()
    return Condition("Migratable", "True", reason, message)


def _loses(node: RawNode) -> bool:
    """True if what an emulated guest writes while it is moved may not arrive: QEMU's translated
    code wrote past the marks of what has changed, which 9.0 mended.
    """
    major = node.qemu_version.partition(".")[0]
    return node.virt_type == EMULATED and major.isdecimal() and int(major) < _MENDED
