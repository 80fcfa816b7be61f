"""Why something is done to a VM, and for whom, for logs."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.actions import (
    Action,
    AttachDevice,
    BeginDiskCopy,
    DefineDomain,
    DetachDevice,
    EndDiskCopy,
    GrowDisk,
    ResumeDomain,
    StartDomain,
)
from agent.core.drift import Edit, brief
from agent.core.facts import View
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.operations import open_operations
from agent.kinds.virtual_machine.report import ended
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine_operation import operation_spec

GONE = "its manifest is gone"
_FOR_OTHERS: Mapping[type[Action], str] = {
    AttachDevice: "for what is attached to it",
    DetachDevice: "for what is attached to it",
    GrowDisk: "for a disk that grows",
}
"""What other objects' manifests want of a VM."""


def cause(case: Situation, made: Intent, actions: tuple[Action, ...], view: View) -> str:
    """Empty where the manifest wants it, and where nothing is done."""
    if not actions:
        return ""
    if case.deleted:
        return GONE
    if any(isinstance(action, ResumeDomain) for action in actions):
        return "there is space again"
    if any(isinstance(action, BeginDiskCopy | EndDiskCopy) for action in actions):
        return "a disk goes where its storage class says"
    asked = _asked(case, made, view)
    if asked:
        return asked
    if case.job.failed in {action.verb for action in actions}:
        return "tried again"
    if any(isinstance(action, StartDomain) and action.again for action in actions):
        return ended(case.seen.raw).lower()
    if by_hand := _by_hand(made, actions):
        return f"changed by hand: {brief(by_hand)}"
    others = [action for action in actions if not _is_card(action)]
    for_others = {each for verb, each in _FOR_OTHERS.items() if verb in map(type, others)}
    if for_others:
        return " and ".join(sorted(for_others))
    return "" if _is_new(case) else "to remember what has happened"


def _by_hand(made: Intent, actions: tuple[Action, ...]) -> tuple[Edit, ...]:
    """What somebody did by hand and these put back."""
    plugged = made.drift.plugged if any(map(_is_card, actions)) else ()
    defines = any(isinstance(action, DefineDomain) for action in actions)
    return (*plugged, *made.drift.mended) if defines else plugged


def _is_card(action: Action) -> bool:
    """True for the coming and going of an interface, which is the machine's own."""
    return isinstance(action, AttachDevice | DetachDevice) and ":" in action.device


def _is_new(case: Situation) -> bool:
    """True if the domain has not been told yet what its manifest says."""
    known = case.seen.memory
    present = (case.vm.generation, case.vm.source)
    return known is None or (known.generation, known.source) != present


def _asked(case: Situation, made: Intent, view: View) -> str:
    """The operation that is under way, by its name."""
    if made.boards is not None and case.way is None:
        asked = made.boards.operation
        return f"operation {asked.key.name} ({operation_spec(asked.spec)['type']})"
    entry = power.unfinished(made.memory, case.running) if case.running is not None else None
    if entry is None:
        return ""
    if entry.type == "Automatic":
        return "automatic restart for " + "; ".join(str(change) for change in made.pending)
    if entry.type == "Reboot":
        return "its guest reboots, and changes wait for that"
    names = {operation.uid: operation.key.name for operation in open_operations(case.vm.key, view)}
    return f"operation {names.get(entry.uid, entry.uid)} ({entry.type})"
