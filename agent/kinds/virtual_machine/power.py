"""The one place that decides what is on and what is off.

In order of precedence: deletion, AlwaysOff, operations, automatic restarts, run policy. Decisions
are written into the domain's metadata before they are carried out; what is carried out follows
from the metadata alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.core.host import RawDomain
from agent.core.identity import internal_uid, next_instance
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_operation import MIGRATIONS

ALWAYS_ON: Final = "AlwaysOn"
ALWAYS_OFF: Final = "AlwaysOff"
MANUAL: Final = "Manual"
UNLESS_STOPPED: Final = "AlwaysOnUnlessStoppedManually"

RESTARTS = ("Restart", "Automatic", "Reboot")
RESTORE = "Restore"
_GO_ON = ("Start", *MIGRATIONS)
"""What ends no instance."""
BY_GUEST = "guest"
BY_POLICY = "policy"
BY_HOST = "host"
BY_DELETION = "deletion"
BY_END = "end"
"""Its instance ended by itself, or by somebody whom nobody asked, and another one is to follow."""

REBOOT_WINDOW = 5.0  # pragma: no mutate: a measured time, and a second more or less is as good
"""Seconds after a guest's reboot in which nothing is lost by cutting its power: it is in its
firmware. Later its system runs again, and changes wait for the next reboot.
"""

PRESS_EVERY = 3.0  # pragma: no mutate: any few seconds do
"""Seconds between two presses of the power button: an early one is lost while the guest boots."""


@dataclass(frozen=True)
class Running:
    """The power side of what was read: which instance runs, if any, and how the last one ended."""

    instance: str
    """Empty when the domain is off."""
    raw: RawDomain

    @property
    def on(self) -> bool:
        return self.raw.active

    @property
    def starting(self) -> bool:
        """True while it is on and may still fail to come up."""
        return self.raw.starting


def first(policy: str, instance: str, now: float, *, was_stopped: bool) -> Power:
    """Power of a domain that is about to be defined. `was_stopped`: it is known to be off."""
    on = policy == ALWAYS_ON or (policy == UNLESS_STOPPED and not was_stopped)
    return Power(on=on, by=BY_POLICY, at=int(now), instance=instance if on else "")


def observed(
    memory: DomainMetadata, running: Running, policy: str, *, deleted: bool, now: float
) -> DomainMetadata:
    """The metadata with what the host shows taken in: starts and stops by anybody, and a changed
    policy.
    """
    memory = _renewed(memory, running, now)
    if deleted:
        return _off(memory, running, BY_DELETION, now)
    if policy == ALWAYS_OFF:
        return _off(memory, running, BY_POLICY, now)
    if running.starting:
        return memory  # whether anything has been started is not known yet
    if running.on:
        return _came_up(memory, running, now)
    return _stopped(memory, running.raw, policy, now)


def _renewed(memory: DomainMetadata, running: Running, now: float) -> DomainMetadata:
    """Every start that is seen uses up an instance id, also one that fails then: what was due
    stays due, with the next id, until an instance has come up.
    """
    if not running.on or running.instance != memory.instance:
        return memory
    power, instance = memory.power, next_instance(memory.uid, memory.instance, now)
    if _due(memory):
        power = replace(power, instance=instance)
    return replace(memory, instance=instance, power=power)


def _off(memory: DomainMetadata, running: Running, by: str, now: float) -> DomainMetadata:
    target = running.instance if running.on else memory.power.instance
    if memory.power.on or memory.power.by != by or memory.power.instance != target:
        stay = ("Stop",) if by == BY_DELETION else ("Stop", RESTORE)
        overruled = tuple(
            replace(entry, cancelled=True)
            if entry.type not in stay and not finished(entry, memory, running)
            else entry
            for entry in memory.operations
        )
        power = Power(on=False, by=by, at=int(now), instance=target)
        return replace(memory, power=power, operations=overruled)
    return memory


def _came_up(memory: DomainMetadata, running: Running, now: float) -> DomainMetadata:
    """A running instance that nobody asked to end is the one that was to be started. Where none
    was, somebody else has started it, and it is wanted.
    """
    power = memory.power
    if _due(memory) and ending(memory, running) is None:
        return replace(memory, power=replace(power, instance=running.instance))
    if not power.on and power.instance != running.instance:
        power = Power(on=True, by=BY_HOST, at=int(now), instance=running.instance)
        return replace(memory, power=power)
    return memory


def _stopped(memory: DomainMetadata, raw: RawDomain, policy: str, now: float) -> DomainMetadata:
    if raw.managed_save:
        return memory  # saved by hand: it is somebody's to go on with
    power = memory.power
    before = machine_spec(memory.spec).get("runPolicy", policy)
    if _due(memory):
        return memory
    if policy == ALWAYS_ON or (policy == UNLESS_STOPPED and before == ALWAYS_OFF):
        why = BY_END if power.on else BY_POLICY
        return replace(memory, power=Power(True, why, int(now), memory.instance))
    if not power.on:
        return memory
    if policy == UNLESS_STOPPED and not by_guest(memory, raw):
        return replace(memory, power=Power(True, BY_END, int(now), memory.instance))
    by = BY_GUEST if by_guest(memory, raw) else BY_HOST
    return replace(memory, power=Power(False, by, int(now), memory.instance))


def by_guest(memory: DomainMetadata, raw: RawDomain) -> bool:
    """True if the guest itself powered off, as opposed to a crash, a lost host or an end that the
    agent began.
    """
    began = any(
        entry.target == memory.power.instance and entry.cancelled for entry in memory.operations
    )
    return raw.reason == "shutdown" and raw.stopped_by != "host" and not began


def ending(memory: DomainMetadata, running: Running) -> Recorded | Power | None:
    """Why the running instance is to end; None if it is not."""
    if not running.on:
        return None
    if not memory.power.on and memory.power.by in (BY_DELETION, BY_POLICY):
        return memory.power
    if (entry := maintained(memory)) is not None:
        return entry
    for entry in reversed(memory.operations):
        if entry.type in _GO_ON or entry.cancelled:
            continue
        if entry.target == running.instance:
            return entry
    return None


def _due(memory: DomainMetadata) -> bool:
    """True from the decision to start the next instance until one has come up."""
    return memory.power.on and memory.power.instance == memory.instance


def maintained(memory: DomainMetadata) -> Recorded | None:
    """What the machine stays off for, whoever starts it; None while nothing of that kind is under
    way.
    """
    return next(
        (
            entry
            for entry in memory.operations
            if entry.type == RESTORE and not entry.done and not entry.cancelled
        ),
        None,
    )


def start_due(memory: DomainMetadata, running: Running) -> bool:
    """True if the next instance is to be started."""
    return not running.on and _due(memory) and maintained(memory) is None


def goes_on(memory: DomainMetadata) -> bool:
    """True if the instance that is due follows one that ran until now: what cannot start yet does
    not keep it off.
    """
    entry = memory.recorded(memory.power.by)
    return memory.power.by == BY_END or (entry is not None and entry.type in RESTARTS)


def finished(entry: Recorded, memory: DomainMetadata, running: Running) -> bool:
    """True if an operation has nothing left to do. What it starts has come up then: once that is
    written down, an operation stays finished whatever happens.
    """
    if entry.type in MIGRATIONS:
        return entry.done
    ended = not running.on or running.instance != entry.target
    if entry.type == "Stop":
        return ended
    if entry.type == RESTORE and not entry.done:
        return False
    due = memory.power.by == entry.uid and _due(memory)
    if entry.type == "Start":
        return not due
    return ended and not due


def unfinished(memory: DomainMetadata, running: Running) -> Recorded | None:
    """The operation under way."""
    for entry in reversed(memory.operations):
        if not entry.cancelled and not finished(entry, memory, running):
            return entry
    return None


def accept(
    memory: DomainMetadata, running: Running, uid: str, kind: str, now: float, *, force: bool
) -> DomainMetadata:
    """The metadata with an operation written down, which is what makes it happen."""
    target = memory.instance if kind == "Start" else running.instance
    entry = Recorded(uid=uid, type=kind, force=force, target=target, at=int(now))
    if kind == RESTORE and not running.on:
        return memory.with_operation(entry)  # what is off, or due, stays so
    on = kind != "Stop"
    power = Power(on=on, by=uid, at=int(now), instance=memory.instance if on else target)
    return replace(memory.with_operation(entry), power=power)


def made(memory: DomainMetadata, uid: str) -> DomainMetadata:
    """The metadata once what a machine was off for is done: it may go on as it was."""
    return replace(
        memory,
        operations=tuple(
            replace(entry, done=True) if entry.uid == uid else entry for entry in memory.operations
        ),
    )


def cancel(memory: DomainMetadata, running: Running, uid: str, now: float) -> DomainMetadata:
    """Somebody has withdrawn an operation: what it has done stays, what it would do is not done.
    A machine that a restart has ended already is not left off.
    """
    entry = memory.recorded(uid)
    if entry is None or entry.cancelled:
        return memory
    others = tuple(
        replace(entry, cancelled=True) if entry.uid == uid else entry for entry in memory.operations
    )
    power = memory.power
    if power.by == uid and not finished(entry, memory, running):
        ended = not running.on or running.instance != entry.target
        if entry.type in (*RESTARTS, RESTORE) and ended:
            power = replace(power, by=BY_END)
        else:
            power = Power(on=running.on, by=BY_HOST, at=int(now), instance=running.instance)
    return replace(memory, operations=others, power=power)


def restart_by_itself(
    memory: DomainMetadata,
    running: Running,
    *,
    automatic: bool,
    reboots: bool,
    pending: bool,
    now: float,
) -> DomainMetadata:
    """A restart that nobody had to ask for: the guest reboots anyway, or the manifest allows it.
    Once an instance.
    """
    if not running.on or not pending or ending(memory, running) is not None:
        return memory
    for kind, applies in (("Reboot", reboots), ("Automatic", automatic)):
        uid = internal_uid(memory.uid, kind, running.instance)
        known = memory.recorded(uid)
        if applies and (known is None or known.cancelled):
            return accept(memory, running, uid, kind, now, force=kind == "Reboot")
    return memory


def stay(memory: DomainMetadata, running: Running, now: float) -> DomainMetadata:
    """There is nothing to restart for any more: an automatic restart under way is called off."""
    if not running.on:
        return memory
    return cancel(memory, running, internal_uid(memory.uid, "Automatic", running.instance), now)


CRASH_WINDOW = 600.0
"""Seconds for which a start after an end that nobody asked for counts against the next one."""
FREE_STARTS = 3


def due_again(memory: DomainMetadata, starts: Sequence[float], now: float) -> float:
    """When the next instance may start. `starts` are those after ends that nobody asked for: a
    guest that keeps ending is started ever more seldom, and what was asked for waits for nothing.
    """
    count = sum(start > now - CRASH_WINDOW for start in starts)
    if memory.power.by != BY_END or count < FREE_STARTS:
        return now
    wait: float = min(300.0, 5.0 * 2.0 ** (count - FREE_STARTS))
    return starts[-1] + wait
