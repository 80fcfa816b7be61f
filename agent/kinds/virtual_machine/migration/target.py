"""Whether a VM can be moved while it runs, and where to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.backup import mark_of
from agent.core.facts import View
from agent.core.known import PEERS
from agent.core.model import Condition, Key
from agent.core.quantity import to_bytes
from agent.kinds.local import Place, away, labels, nodes, place, several
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


def chosen(case: Situation, view: View, wanted: Mapping[str, str]) -> Chosen:
    """The node that it can go to: the first that takes it."""
    refused: dict[str, str] = {}
    for name in nodes(view):
        if name == case.at.name:
            refused[name] = "node(s) have the machine already"
            continue
        to = place(view, name)
        if to is None or away(view, name):
            refused[name] = "node(s) were not ready"
            continue
        if not wanted.items() <= labels(view, name).items():
            refused[name] = "node(s) didn't match Pod's node affinity/selector"
            continue
        lot = cargo(case.seen, case.at, to, view)
        why = next(_refusals(case, to, lot, view), "")
        if not why:
            return Chosen(name, lot)
        refused[name] = why
    return Chosen(why=_told(refused))


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
    if to_bytes(spec["memory"]["size"]) > to.node.memory:
        yield "Insufficient memory"
    lacking = {
        each.link.network
        for each in (case.seen.active.interfaces.interfaces if case.seen.active else ())
        if each.type == "network" and each.link.network not in to.node.networks
    }
    if lacking:
        yield f"node(s) lack network {', '.join(sorted(lacking))}"


def _newer(machine: str, to: Place) -> bool:
    """True if a node's QEMU is older than a machine's type."""
    mine = _VERSION.search(machine)
    theirs = _VERSION.search(to.node.machine)
    if mine is None or theirs is None:
        return False
    return (int(mine[1]), int(mine[2])) > (int(theirs[1]), int(theirs[2]))


def _told(refused: Mapping[str, str]) -> str:
    counted = sorted(f"{count} {why}" for why, count in Counter(refused.values()).items())
    return f"0/{len(refused)} nodes are available: {', '.join(counted)}."


def migratable(case: Situation, view: View) -> Condition:
    """Condition Migratable of a machine that runs."""
    reason, why = fixed(case, view)
    if why:
        return Condition("Migratable", "False", reason, why)
    found = chosen(case, view, {})
    if not found.node:
        return Condition("Migratable", "False", NO, found.why)
    if found.cargo.disks:
        message = "Its local disks are copied along."
        return Condition("Migratable", "True", ALONG, message)
    return Condition("Migratable", "True", YES)
