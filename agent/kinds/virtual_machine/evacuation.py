"""Operations that the agent asks of itself: a VM that runs where it may not stay is to leave."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass

from agent.core.acceptance import suspended
from agent.core.facts import View
from agent.core.known import MISFIT, OWNED, PLACED
from agent.core.model import Key, Manifest, Object
from agent.core.overview import ENDED
from agent.core.placement.fleet import by_taint
from agent.core.status import seconds
from agent.kinds.local import several
from agent.kinds.node import NodeData, marks
from agent.kinds.virtual_machine.operations import open_operations
from agent.kinds.virtual_machine.placement import MOVES, TO_NODES, its_rules
from agent.kinds.virtual_machine.tolerance import limit
from agent.kinds.virtual_machine_operation import operation_spec

KIND = "VirtualMachineOperation"
DRAINED, UNFIT, FIRMWARE = "evacuation", "nodeplacement-update", "firmware-update"
"""What their names begin with."""
ATTEMPT = "gitvirt.io/attempt"
BECAUSE = "gitvirt.io/because"
"""Annotation that says why an operation was made."""
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own for generated names."""
KEPT_FOR = 24 * 3600.0
"""Seconds for which those that have ended are kept."""
SLOWEST, SETTLES = 300.0, 60.0
"""Seconds between two attempts, at most, and where its rules have changed."""


@dataclass(frozen=True)
class Cause:
    """Why a VM is to leave its node."""

    prefix: str
    token: str
    """Tells it from other causes of the same kind."""
    told: str
    """In a sentence."""
    nodes: frozenset[str] = frozenset()
    """Where it may go; to any node where there are none."""
    once: bool = False
    """True if it is tried once, however that ends."""
    spent: bool = False
    """True once that is known to have been tried."""
    pause: float = 0.0
    """Seconds between two attempts; they grow from one to the next where this is 0."""
    found: bool = False
    """True if it is known that one of these nodes takes it."""


@dataclass(frozen=True)
class Evacuation:
    makes: tuple[Manifest, ...] = ()
    drops: frozenset[Key] = frozenset()
    wake: float | None = None


NOTHING = Evacuation()


def cause(vm: Object, view: View, at: str) -> Cause | None:
    """Why a VM that runs is to leave its node; None if it may stay."""
    if not several(view) or vm.deleted or suspended(vm.manifest):
        return None
    data = view.export(NodeData, Key("Node", "", at))
    if data is not None and data.evacuate:
        return Cause(DRAINED, f"{at} {data.evacuate}", f"Node {at} is being drained.")
    why = view.read(MISFIT, vm.key)
    if why is None:
        return _overdue(vm, view, at)
    told = f"Node {at} does not fit it any more: {why}."
    if by_taint(why):
        return Cause(DRAINED, f"{at} {why}", told)
    rules = hashlib.sha256(repr(its_rules(vm, view)).encode()).hexdigest()
    return Cause(UNFIT, f"{at} {rules}", told)


def _overdue(vm: Object, view: View, at: str) -> Cause | None:
    """Of one that may stay beside a taint for a while: once that is over."""
    until = limit(vm, view, at)
    if until is None or view.now < until.at:
        return None
    taint = f"{until.taint.key}={until.taint.value}"
    told = f"Node {at} has the taint {taint}, which it bears no longer than it did."
    return Cause(DRAINED, f"{at} {taint} {int(until.since)}", told)


def about_leaving(vm: Object, view: View, at: str) -> str:
    """Why a VM that runs is to leave its node, and what is in the way; empty if it may stay."""
    why = cause(vm, view, at)
    if why is None:
        return ""
    verdict = view.read(PLACED, vm.key)
    return f"{why.told} {verdict.message}".strip() if verdict is not None else why.told


def about_resting(vm: Object, view: View, at: str) -> str:
    """What is to be known of a VM that is off on a node that takes no machines; else empty."""
    if not several(view) or vm.deleted or not marks(view, at)[1]:
        return ""
    return (
        f"It stays on node {at} while it is off, though that takes no machines now: to start it "
        "goes to another one, if it can."
    )


def evacuation(
    vm: Object, view: View, at: str, other: Cause | None = None, taken_up: Container[str] = ()
) -> Evacuation:
    """The operation that sends a VM away that is to leave its node: one at a time, and again ever
    more seldom where it fails. None is made as long as it cannot go: its conditions say why.
    `other` is why it had better go that may stay; `taken_up` are the uids of operations that the
    domain remembers.
    """
    ours = [each for each in made_by_us(vm, view) if not each.deleted]
    why = cause(vm, view, at) or other
    wanted = [each for each in ours if why is not None and _is_for(each, vm, why)]
    held = [each for each in ours if each in wanted or each.uid in taken_up]
    drops = frozenset(each.key for each in ours if _goes(each, view, held))
    wakes = [end + KEPT_FOR for each in ours if (end := _ended(each, view)) is not None]
    made = _next(vm, view, why, wanted) if why is not None else NOTHING
    wakes += [made.wake] if made.wake is not None else []
    until = limit(vm, view, at) if several(view) else None
    wakes += [until.at] if until is not None else []
    return Evacuation(made.makes, drops, min((at for at in wakes if at > view.now), default=None))


def _next(vm: Object, view: View, why: Cause, wanted: list[Object]) -> Evacuation:
    last = max(wanted, key=_attempt, default=None)
    if last is None and why.spent:
        return NOTHING
    if last is None:
        due, attempt = 0.0, 0
    elif (end := _ended(last, view)) is None:
        return Evacuation((last.manifest,))
    elif why.once:
        return NOTHING
    else:
        attempt = _attempt(last) + 1
        due = end + (why.pause or min(SLOWEST, SETTLES if why.prefix == UNFIT else 2.0**attempt))
    if due > view.now:
        return Evacuation(wake=due)
    if not _can_go(vm, view, why) or _is_asked(vm, view):
        return NOTHING
    return Evacuation((_operation(vm, why, attempt),))


def _can_go(vm: Object, view: View, why: Cause) -> bool:
    """True if it was seen that it can be moved, and there is a node that takes it."""
    verdict = view.read(PLACED, vm.key)
    found = why.found or (verdict is not None and bool(verdict.node))
    return found and is_migratable(vm, view)


def is_migratable(vm: Object, view: View) -> bool:
    """True if it was seen that it can be moved."""
    return any(
        each["type"] == "Migratable" and each["status"] == "True"
        for each in view.previous(vm.key).get("conditions", ())
    )


def _is_asked(vm: Object, view: View) -> bool:
    """True while somebody else has it moved."""
    return any(True for _ in asking(vm, view))


def asking(vm: Object, view: View) -> Iterator[Object]:
    """Operations that have it moved, whoever made them."""
    every = open_operations(vm.key, view)
    return (each for each in every if operation_spec(each.spec)["type"] in MOVES)


def made_by_us(vm: Object, view: View) -> Iterator[Object]:
    """The operations that the agent has made."""
    for key in view.read(OWNED, vm.key) or ():
        obj = view.object(key) if key.kind == KIND else None
        if obj is not None:
            yield obj


def _goes(operation: Object, view: View, wanted: list[Object]) -> bool:
    """True of one that has ended a day ago, or that nobody has taken up and nothing asks for any
    more. What is under way goes on.
    """
    end = _ended(operation, view)
    if end is not None:
        return end + KEPT_FOR <= view.now
    begun = view.previous(operation.key).get("phase") == "InProgress"
    return operation not in wanted and not begun


def _ended(operation: Object, view: View) -> float | None:
    status = view.previous(operation.key)
    if status.get("phase") not in ENDED:
        return None
    times = (
        seconds(each["lastTransitionTime"])
        for each in status.get("conditions", ())
        if each["type"] == "Completed"
    )
    return next(times, seconds(operation.created))


def _attempt(operation: Object) -> int:
    return int(operation.manifest.annotations.get(ATTEMPT, "0"))


def _is_for(operation: Object, vm: Object, why: Cause) -> bool:
    return operation.key.name == _name(vm, why, _attempt(operation))


def _name(vm: Object, why: Cause, attempt: int) -> str:
    """The same for the same cause, whoever makes it."""
    said = f"{vm.uid} {why.prefix} {why.token} {attempt}"
    number = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big")
    letters = []
    for _ in range(5):
        number, letter = divmod(number, len(LETTERS))
        letters.append(LETTERS[letter])
    return f"{why.prefix}-{''.join(letters)}"


def _operation(vm: Object, why: Cause, attempt: int) -> Manifest:
    key = Key(KIND, vm.key.namespace, _name(vm, why, attempt))
    spec = {"type": "Evict", "virtualMachineName": vm.key.name}
    notes = {ATTEMPT: str(attempt), BECAUSE: why.told}
    if why.nodes:
        notes[TO_NODES] = ",".join(sorted(why.nodes))
    return Manifest(key, {}, notes, {"spec": spec})
