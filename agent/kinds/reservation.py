"""An object that reserves an address for a machine: which machine that is, and what it tells."""

from __future__ import annotations

from typing import Any

from agent.core.facts import View
from agent.core.known import MADE_FOR, RESERVED, USERS
from agent.core.model import Condition, Key, Object
from agent.kinds.leases import VM

ATTACHED = "Attached"
NO_MACHINE = "No machine uses it."


def machine_of(address: Object, view: View) -> Key | None:
    """The machine that has it: the one whose domain has it, else the one that it was made for, else
    the oldest that names it.
    """
    holder = _holder(address, view)
    if holder is not None:
        return holder
    owner = address.owner
    if owner is not None:
        return Key(owner.kind, address.key.namespace, owner.name)
    made_for = view.read(MADE_FOR, address.key)
    if made_for is not None:
        return made_for
    named = (key for key in view.read(USERS, address.key) or () if key.kind == VM)
    return next((key for key in named if not _goes(key, view)), None)


def users(address: Object, machine: Key | None, view: View) -> list[Key]:
    """Machines that keep a deleted one."""
    if address.owner is not None:
        holder = _holder(address, view)
        return [holder] if holder is not None else []
    return [machine] if machine is not None else []


def _holder(address: Object, view: View) -> Key | None:
    """The machine whose domain has it."""
    known = view.read(RESERVED, address.key)
    return Key(VM, address.key.namespace, known[0][1]) if known else None


def _goes(machine: Key, view: View) -> bool:
    obj = view.object(machine)
    return obj is None or bool(obj.deleted)


def report(address: str, machine: Key | None, bound: Condition, phase: str) -> dict[str, Any]:
    """The status; without a phase that of one that is bound."""
    attached = Condition(ATTACHED, "True", ATTACHED)
    if machine is None:
        attached = Condition(ATTACHED, "False", "VirtualMachineNotFound", NO_MACHINE)
    return {
        "phase": phase or (ATTACHED if machine is not None else bound.type),
        "address": address,
        "virtualMachineName": machine.name if machine is not None else "",
        "conditions": [bound, attached],
    }
