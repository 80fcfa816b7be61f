"""An object that reserves an address for a machine: which machine that is, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.core.acceptance import suspended
from agent.core.facts import Decision, View
from agent.core.known import CLAIM, MADE_FOR, RESERVED, STATUS, USERS
from agent.core.model import Condition, Key, Object
from agent.core.status import conditions
from agent.kinds.exports import AddressData
from agent.kinds.leases import BOUND, VM, Sort, Standing, address_in, is_written
from agent.kinds.protection import kept

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


@dataclass(frozen=True)
class Found:
    """Which address an object has. `problem` says why it has none, or not that one, as reason and
    sentence.
    """

    address: str = ""
    problem: tuple[str, str] = ("", "")
    how: Standing | None = None
    """How its lease is got: OWN, it is there, or made at once; RELEASED, it is taken over."""
    soon: bool = False
    """True if it comes without anybody's doing anything."""


def was_bound(address: Key, lost: str, view: View) -> bool:
    """True if an address has been its own: one that it only asked for may be another's."""
    previous = view.previous(address)
    reasons = {condition.reason for condition in conditions(previous)}
    return previous.get("phase") != "Pending" or lost in reasons


def reserved(
    sort: Sort, obj: Object, machine: Key | None, found: Found, view: View, prefix: int = 0
) -> Decision:
    """The decision of an object that reserves an address, once it is known which."""
    by = users(obj, machine, view) if obj.deleted else []
    if obj.deleted and not by:
        return Decision(status={"phase": "Terminating"}, gone=True)
    bound, asked = found.how is Standing.OWN, found.how is Standing.RELEASED
    reason, said = found.problem
    if bound and suspended(obj.manifest) and view.object(sort.lease_of(found.address)) is None:
        bound, reason = False, f"{sort.kind}LeaseNotFound"
        said = f"The lease of {found.address} is not taken while nothing is done about it."
    if asked:
        reason, said = f"{sort.kind}LeaseNotFound", f"The lease of {found.address} is being taken."
    status = _report(found.address, machine, Condition(BOUND, "True", BOUND), "")
    if not bound:
        status = _report(found.address, None, Condition(BOUND, "False", reason, said), "Pending")
    if by:
        told = Condition("Terminating", "True", "InUse", kept("address", by))
        status["conditions"] = [*status["conditions"], told]
    ready = bound and is_written(sort, found.address, view)
    taking = bound and not ready
    if bound:
        view.foresee(STATUS, obj.key, address_in, found.address)
    return Decision(
        status=status,
        export=AddressData(
            address=found.address if bound else "",
            prefix=prefix if bound else 0,
            ready=ready,
            said=said or ("" if ready else "Its lease is being written down."),
            machine=machine,
        ),
        makes=(sort.held(obj, found.address, made_for(obj)),) if taking else (),
        publish=CLAIM.states(sort.lease_of(found.address), obj.key) if asked or taking else {},
        waiting=found.soon or asked or taking,
        ok=bound,
    )


def made_for(obj: Object) -> str:
    """Name of the machine that it was made for; empty if it was not."""
    return obj.owner.name if obj.owner is not None and obj.owner.kind == VM else ""


def _report(address: str, machine: Key | None, bound: Condition, phase: str) -> dict[str, Any]:
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
