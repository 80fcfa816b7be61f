"""The way from a wish for another machine to one that is there: looked at, written to a branch,
merged by people, and its disks made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.core.facts import Decision, View
from agent.core.known import CLONE_BRANCHES, MADE_FROM, PROPOSED
from agent.core.model import Condition, Json, Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.core.proposals import Proposal, Proposed, clone_ref
from agent.core.status import seconds, timestamp
from agent.kinds.cloning.copies import (
    APART,
    BEST_EFFORT,
    COPIED,
    DISK,
    MACHINE,
    SNAPSHOT,
    Copy,
    drafts,
)
from agent.kinds.cloning.names import Naming
from agent.kinds.exports import DiskData
from agent.kinds.requests import COMPLETED_AT, status

BRANCH = "branch"
"""Field of a status: the branch's name, the commit with which it began, and when; and since when it
is gone.
"""
GRACE = 600.0
"""Seconds after which a branch that is gone, and of which nothing was merged, was given up."""
KEPT_FOR = 30 * 86400.0
"""Seconds that there are for a merge."""
DRY_RUN = "DryRun"


@dataclass(frozen=True)
class Asked:
    """One operation, and what it is called."""

    operation: Object
    how: Naming
    under_way: str
    """Reason of what has not ended."""
    subject: str
    now: float
    keeps: str
    """What keeps the data until it is merged, in a sentence."""
    more: tuple[Condition, ...] = ()

    def report(
        self,
        progress: Progress,
        resources: Iterable[Mapping[str, Json]],
        branch: Mapping[str, Json] = {},
    ) -> dict[str, Any]:
        ended = {COMPLETED_AT: timestamp(self.now)} if progress.phase in ENDED else {}
        told = status(progress, self.more)
        return {**told, **ended, "resources": list(resources), BRANCH: dict(branch)}

    def failed(
        self, message: str, every: Iterable[Copy], reason: str = "OperationFailed"
    ) -> Decision:
        told = Progress("Failed", reason, message)
        return Decision(status=self.report(told, (each.listed("Failed") for each in every)))

    def waits(self, message: str, every: Iterable[Copy], *, waiting: bool = True) -> Decision:
        told = Progress("InProgress", self.under_way, message)
        report = self.report(told, (each.listed("InProgress") for each in every))
        return Decision(status=report, waiting=waiting)


def looked_at(asked: Asked, every: tuple[Copy, ...], view: View) -> Decision | None:
    """Have the repository looked at, too, before anything is done; None once all is well."""
    told = _told(asked, view)
    if told is None or told.error:
        progress = Progress("Pending", "Unknown", _error(told))
        report = asked.report(progress, (each.listed("InProgress") for each in every))
        proposal = _proposal(asked, every, written=False)
        return Decision(status=report, proposes=proposal, waiting=True)
    judged = _judged(every, told)
    if (why := _refusal(judged, told)) is not None:
        return asked.failed(why, judged)
    if asked.how["mode"] == DRY_RUN:
        message = "Nothing was done: see status.resources for what would."
        progress = Progress("Completed", "OperationCompleted", message)
        return Decision(
            status=asked.report(progress, (each.listed("Completed") for each in judged))
        )
    return None


def proposed(asked: Asked, every: tuple[Copy, ...], view: View) -> Decision:
    """Have the branch written. Once it is, it is followed."""
    told = _told(asked, view)
    if told is None or not told.written or told.error:
        decision = asked.waits(_error(told) or "Its branch is being written.", every)
        return replace(decision, proposes=_proposal(asked, every, written=True))
    judged = _judged(every, told)
    if (why := _refusal(judged, told)) is not None:
        return asked.failed(why, judged)
    ref = clone_ref(_machine(every))
    branch = {"name": _short(ref), "commit": told.commit, "since": timestamp(view.now)}
    progress = Progress("InProgress", asked.under_way, _merge(branch, asked))
    report = asked.report(progress, (each.listed("InProgress") for each in judged), branch)
    return Decision(status=report, wake=view.now + KEPT_FOR)


@dataclass(frozen=True)
class _Merged:
    """What of a branch has reached main."""

    machine: bool
    makers: Mapping[str, tuple[Key, ...]]
    """Disks that are made from each snapshot."""
    lacking: tuple[Key, ...]
    """Those of them that are not made yet."""

    @property
    def anything(self) -> bool:
        return self.machine or any(self.makers.values())

    @property
    def all(self) -> bool:
        return self.machine and all(self.makers.values())


def followed(asked: Asked, parts: Iterable[str], view: View) -> Decision:
    """From the branch to the machine. `parts` are the snapshots that its disks begin with."""
    previous = view.previous(asked.operation.key)
    branch: dict[str, Any] = dict(previous[BRANCH])
    merged = _merged(asked, previous, parts, view)
    until = seconds(branch["since"]) + KEPT_FOR
    gone = _gone(branch, view)
    if gone is None:
        branch.pop("gone", None)
    else:
        branch["gone"] = timestamp(gone)
    over = view.now >= until or (gone is not None and view.now >= gone + GRACE)
    if merged.lacking:
        names = ", ".join(map(str, merged.lacking))
        told = Progress("InProgress", asked.under_way, f"{names} is made: see its conditions.")
    elif merged.all or (merged.anything and over):
        return _ended(asked, Progress("Completed", "OperationCompleted"), previous, merged, branch)
    elif over:
        return _ended(asked, _given_up(branch, gone), previous, merged, branch)
    elif gone is not None:
        message = f"Branch {branch['name']} is gone, and nothing of it was merged."
        told = Progress("InProgress", asked.under_way, message)
    else:
        told = Progress("InProgress", asked.under_way, _merge(branch, asked))
    report = asked.report(told, _states(previous, merged, "InProgress"), branch)
    wake = until if gone is None else min(until, gone + GRACE)
    return Decision(status=report, wake=wake, waiting=bool(merged.lacking))


def _told(asked: Asked, view: View) -> Proposed | None:
    told: Proposed | None = view.read(PROPOSED, asked.operation.uid)
    return told


def _error(told: Proposed | None) -> str:
    return f"It is tried again: {told.error}." if told is not None and told.error else ""


def _proposal(asked: Asked, every: tuple[Copy, ...], *, written: bool) -> Proposal:
    machine = _machine(every)
    body = (
        f"Asked for by {asked.operation.key}.\n\n{asked.keeps}\nOnce this is merged and the disks "
        f"are made, {machine.name} is a machine like any other."
    )
    return Proposal(
        uid=asked.operation.uid,
        ref=clone_ref(machine),
        subject=f"{asked.subject} as {machine.name}",
        body=body,
        drafts=tuple(drafts(every)),
        copied=COPIED,
        apart=APART,
        lenient=asked.how["mode"] == BEST_EFFORT,
        written=written,
    )


def _machine(every: tuple[Copy, ...]) -> Key:
    return next(each.key for each in every if each.key.kind == MACHINE)


def _judged(every: tuple[Copy, ...], told: Proposed) -> tuple[Copy, ...]:
    """What the repository says of each."""
    return tuple(_said(each, told) for each in every)


def _said(copy: Copy, told: Proposed) -> Copy:
    if problem := told.problems.get(copy.key):
        return replace(copy, message=problem, problem=True)
    if copy.key in told.gone:
        return replace(copy, message=told.left[copy.key], problem=True, missing=True)
    if left := told.left.get(copy.key):
        return replace(copy, message=f"{copy.message} {left}")
    return copy


def _refusal(every: Iterable[Copy], told: Proposed) -> str | None:
    if told.refusal:
        return told.refusal
    wrong = [f"{each.key}: {each.message}" for each in every if each.key in told.problems]
    return " ".join(wrong) or None


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/")


def _merge(branch: Mapping[str, Json], asked: Asked) -> str:
    until = timestamp(seconds(branch["since"]) + KEPT_FOR)
    return f"Merge branch {branch['name']}. {asked.keeps} There is time until {until}."


def _gone(branch: Mapping[str, Json], view: View) -> float | None:
    """Since when the branch is gone; None while it is there, or nobody knows."""
    there = view.read(CLONE_BRANCHES, None)
    if there is None or f"refs/heads/{branch['name']}" in there:
        return None
    return seconds(branch["gone"]) if "gone" in branch else view.now


def _given_up(branch: Mapping[str, Json], gone: float | None) -> Progress:
    if gone is None:
        message = f"Branch {branch['name']} was not merged in {KEPT_FOR / 86400:.0f} days."
        return Progress("Failed", "OperationFailed", message)
    message = f"Branch {branch['name']} is gone, and nothing of it was merged."
    return Progress("Failed", "OperationFailed", message)


def _merged(asked: Asked, previous: Mapping[str, Any], parts: Iterable[str], view: View) -> _Merged:
    space = asked.operation.key.namespace
    names = [each["name"] for each in previous["resources"] if each["kind"] == MACHINE]
    machine = view.object(Key(MACHINE, space, names[0])) is not None
    makers = {
        part: tuple(
            key
            for key in view.read(MADE_FROM, Key(SNAPSHOT, space, part)) or ()
            if key.kind == DISK
        )
        for part in parts
    }
    every = [key for keys in makers.values() for key in keys]
    lacking = tuple(key for key in every if view.export(DiskData, key) is None)
    return _Merged(machine, makers, lacking)


def _states(previous: Mapping[str, Any], merged: _Merged, state: str) -> list[dict[str, Json]]:
    """The resources, those that are there as they should be among them."""
    there = {key.name for keys in merged.makers.values() for key in keys} - {
        key.name for key in merged.lacking
    }
    done = {(DISK, name) for name in there}
    if merged.machine:
        done |= {
            (each["kind"], each["name"]) for each in previous["resources"] if each["kind"] != DISK
        }
    return [
        each
        if each["status"] == "Failed"
        else {**each, "status": "Completed" if (each["kind"], each["name"]) in done else state}
        for each in previous["resources"]
    ]


def _ended(
    asked: Asked,
    progress: Progress,
    previous: Mapping[str, Any],
    merged: _Merged,
    branch: Mapping[str, Json],
) -> Decision:
    return Decision(status=asked.report(progress, _states(previous, merged, "Failed"), branch))
