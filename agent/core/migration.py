"""A machine between two nodes: what both of them show decides what is to be done, whatever has
become of whoever began it.

The guest lands paused, under a mark that its domain bears since before it left. It goes on there
only once the domain that it left is off, or gone; so it never runs twice. Everything here is what
libvirt 9 was seen to do when daemons, links and hosts died at each stage.

A machine that is off is taken there cold: what its disks hold is copied, and once all of it is
there it is defined on the target, with a higher epoch: from then on that copy is the machine. It is
started once nothing of it is left on the source.

A machine whose node is lost may be started anew on another one, under a mark of the same kind: its
disks are the same on both. Which of the two counts is told by which of them was seen to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from agent.core.domain_xml import parse
from agent.core.host import RawDomain
from agent.core.metadata import Migration, from_domain

_TAG = ":migration "


class Shows(Enum):
    """What one node shows of the machine."""

    UNKNOWN = auto()
    """It cannot be read."""
    FENCED = auto()
    """It cannot be read, and somebody has made sure that nothing runs on it."""
    ABSENT = auto()
    OFF = auto()
    HANDED = auto()
    """Off since libvirt has handed its guest over."""
    UNDONE = auto()
    """Off since libvirt itself has given it up: its guest never went on there."""
    ENDED = auto()
    """Off since its guest has ended there, or QEMU has: on the source, after nothing came of it."""
    INCOMING = auto()
    """Its memory arrives: a domain without a definition that waits."""
    PAUSED = auto()
    """Paused as somebody pauses a guest, and as one that has landed is."""
    STOPPED = auto()
    """Paused at the end of a migration. It may go on by itself."""
    RUNS = auto()


@dataclass(frozen=True)
class Side:
    """One of the two nodes."""

    shows: Shows
    job: bool = False
    """True while the migration is under way, as the node that the guest leaves says."""
    raised: bool = False
    """True if its copy is known to be the one that counts: the epoch of its domain was raised, on
    the target once the source had been read as off, on the source once nothing came of it.
    """


class Step(Enum):
    """What is to be done."""

    STAY = auto()
    """The source has the machine, and nothing of it is on the target."""
    GOES = auto()
    """It is on its way: only its end tells more."""
    WAIT = auto()
    """Nobody can tell, or nothing can be done now: nothing is done."""
    LAND = auto()
    """It has landed: the source is ended if it is not off, then the target goes on."""
    ADOPT = auto()
    """It has landed and ended: the target's copy is the one that counts."""
    ARRIVED = auto()
    """The target has the machine: what is left on the source goes."""
    DISCARD = auto()
    """The source has the machine: what is left of it on the target goes."""
    GO_ON = auto()
    """The source was stopped at the end, and nothing is on the target: it goes on."""
    SPLIT = auto()
    """It runs on both."""
    BEGIN = auto()
    """Nothing of it runs where it was, and nothing has run on the target: it is started there."""


_OFF = frozenset((Shows.OFF, Shows.HANDED, Shows.UNDONE, Shows.ENDED))
_PRESENT = frozenset((Shows.RUNS, Shows.PAUSED))
_S = Shows

_ROWS: dict[tuple[Shows, Shows], Step] = {
    # the source has its guest, and no job: whatever came of it, nothing arrived
    (_S.RUNS, _S.ABSENT): Step.STAY,
    (_S.RUNS, _S.INCOMING): Step.DISCARD,
    (_S.RUNS, _S.PAUSED): Step.DISCARD,
    (_S.RUNS, _S.STOPPED): Step.WAIT,
    (_S.RUNS, _S.OFF): Step.DISCARD,
    (_S.RUNS, _S.HANDED): Step.DISCARD,
    (_S.RUNS, _S.UNDONE): Step.DISCARD,
    (_S.RUNS, _S.RUNS): Step.SPLIT,
    (_S.RUNS, _S.FENCED): Step.STAY,
    # stopped at the end: it may go on by itself for half a minute
    (_S.STOPPED, _S.ABSENT): Step.GO_ON,
    (_S.STOPPED, _S.PAUSED): Step.LAND,
    (_S.STOPPED, _S.OFF): Step.DISCARD,
    (_S.STOPPED, _S.HANDED): Step.DISCARD,
    (_S.STOPPED, _S.UNDONE): Step.DISCARD,
    (_S.STOPPED, _S.RUNS): Step.ARRIVED,
    (_S.STOPPED, _S.FENCED): Step.GO_ON,
    # handed over
    (_S.HANDED, _S.PAUSED): Step.LAND,
    (_S.HANDED, _S.RUNS): Step.ARRIVED,
    (_S.HANDED, _S.OFF): Step.ADOPT,
    (_S.HANDED, _S.HANDED): Step.ADOPT,
    (_S.HANDED, _S.UNDONE): Step.DISCARD,
    # off, and nobody can tell why: the daemon was restarted, or the guest has ended
    (_S.OFF, _S.ABSENT): Step.STAY,
    (_S.OFF, _S.INCOMING): Step.DISCARD,
    (_S.OFF, _S.PAUSED): Step.LAND,
    (_S.OFF, _S.RUNS): Step.ARRIVED,
    (_S.OFF, _S.UNDONE): Step.DISCARD,
    (_S.UNDONE, _S.ABSENT): Step.STAY,
    (_S.UNDONE, _S.INCOMING): Step.DISCARD,
    (_S.UNDONE, _S.PAUSED): Step.LAND,
    (_S.UNDONE, _S.RUNS): Step.ARRIVED,
    (_S.UNDONE, _S.UNDONE): Step.DISCARD,
    # its guest went on there and has ended: what has landed is older than its disks
    (_S.ENDED, _S.ABSENT): Step.STAY,
    (_S.ENDED, _S.INCOMING): Step.DISCARD,
    (_S.ENDED, _S.PAUSED): Step.DISCARD,
    (_S.ENDED, _S.OFF): Step.DISCARD,
    (_S.ENDED, _S.HANDED): Step.DISCARD,
    (_S.ENDED, _S.UNDONE): Step.DISCARD,
    # gone
    (_S.ABSENT, _S.PAUSED): Step.LAND,
    (_S.ABSENT, _S.RUNS): Step.ARRIVED,
    (_S.ABSENT, _S.OFF): Step.ADOPT,
    (_S.ABSENT, _S.HANDED): Step.ADOPT,
    (_S.ABSENT, _S.UNDONE): Step.ADOPT,
    # nothing runs there any more, and nobody can say what it held in the end
    (_S.FENCED, _S.PAUSED): Step.LAND,
    (_S.FENCED, _S.RUNS): Step.ARRIVED,
}
"""By what source and target show, where no job is under way and the target's copy is not known to
count. All else waits.
"""

_COLD: dict[tuple[Shows, Shows], Step] = {
    (_S.OFF, _S.ABSENT): Step.STAY,
    (_S.OFF, _S.FENCED): Step.STAY,
    # somebody has started it: what was copied is older than its disks
    (_S.RUNS, _S.ABSENT): Step.STAY,
    (_S.RUNS, _S.FENCED): Step.STAY,
}
"""The same of one that is taken there cold. What stands on the target without a higher epoch is
nobody's whom this table knows.
"""

_INSTEAD: dict[tuple[Shows, Shows], Step] = {
    # nobody can tell whether it runs where it was
    (_S.UNKNOWN, _S.ENDED): Step.ARRIVED,
    (_S.UNKNOWN, _S.RUNS): Step.ARRIVED,
    # it does not run there
    (_S.FENCED, _S.OFF): Step.BEGIN,
    (_S.FENCED, _S.STOPPED): Step.BEGIN,
    (_S.FENCED, _S.ENDED): Step.ARRIVED,
    (_S.FENCED, _S.RUNS): Step.ARRIVED,
    (_S.ABSENT, _S.OFF): Step.BEGIN,
    (_S.ABSENT, _S.STOPPED): Step.BEGIN,
    (_S.ABSENT, _S.ENDED): Step.ARRIVED,
    (_S.ABSENT, _S.RUNS): Step.ARRIVED,
    # it is back: what has never run in its place goes, and so does itself where something has
    (_S.OFF, _S.OFF): Step.DISCARD,
    (_S.OFF, _S.ENDED): Step.ARRIVED,
    (_S.OFF, _S.RUNS): Step.ARRIVED,
    # it is back and has its guest still
    (_S.RUNS, _S.OFF): Step.DISCARD,
    (_S.RUNS, _S.ENDED): Step.SPLIT,
    (_S.RUNS, _S.RUNS): Step.SPLIT,
}
"""The same of a machine that takes the place of one on a lost node: how it was before, and how it
is now. Whatever a guest is held up by there, it may go on. Off means of what is in its place that
nothing was ever seen to run; what has run has ended, and what only starts up may still fail.
"""


def instead(source: Side, target: Side) -> Step:
    """What is to be done about a machine that was lost with its node and is on another one."""
    if source.raised:
        return Step.WAIT  # it was moved on from there: this is not what was lost
    here, there = source.shows, target.shows
    if here in _OFF:
        here = Shows.OFF
    elif here in (Shows.PAUSED, Shows.STOPPED):
        here = Shows.RUNS
    if there is Shows.PAUSED:
        there = Shows.RUNS
    elif there in (Shows.HANDED, Shows.ENDED) or (
        target.raised and there in {*_OFF, Shows.STOPPED}
    ):
        there = Shows.ENDED
    elif there is Shows.UNDONE:
        there = Shows.OFF
    return _INSTEAD.get((here, there), Step.WAIT)


def decided(mark: Migration, source: Side, target: Side) -> Step:
    """What is to be done, whatever sort of mark it is."""
    return instead(source, target) if mark.substitute else step(source, target, cold=mark.cold)


def step(source: Side, target: Side, *, cold: bool = False) -> Step:
    """What is to be done, from what both sides show."""
    if cold:
        source, target = (replace(side, shows=_at_rest(side.shows)) for side in (source, target))
    rows = _COLD if cold else _ROWS
    here, there = _as_running(source.shows), target.shows
    if source.raised and here in {*_OFF, *_PRESENT, Shows.STOPPED}:
        return _kept(there)
    if target.raised and there in {*_OFF, *_PRESENT}:
        return _counts(here, there)
    if here is Shows.RUNS and there is Shows.RUNS:
        return Step.SPLIT
    if source.job:
        return Step.WAIT if cold else Step.GOES
    return rows.get((here, there), Step.WAIT)


def _as_running(shows: Shows) -> Shows:
    """A guest that somebody has paused is there as well as one that runs."""
    return Shows.RUNS if shows is Shows.PAUSED else shows


def _at_rest(shows: Shows) -> Shows:
    """Of a guest that nobody has sent anywhere: it is on, for whatever reason, or it is off."""
    if shows in (Shows.UNKNOWN, Shows.FENCED, Shows.ABSENT):
        return shows
    return Shows.OFF if shows in _OFF else Shows.RUNS


def _counts(here: Shows, there: Shows) -> Step:
    """The target's copy counts."""
    if here is Shows.RUNS:
        return Step.SPLIT
    if there is Shows.PAUSED:
        return Step.WAIT if here is Shows.UNKNOWN else Step.LAND
    return Step.ARRIVED


def _kept(there: Shows) -> Step:
    """The source's copy counts."""
    if there is Shows.RUNS:
        return Step.SPLIT
    gone = there in (Shows.ABSENT, Shows.UNKNOWN, Shows.FENCED)
    return Step.STAY if gone else Step.DISCARD


# -- reading the sides ---------------------------------------------------------------------------


def source_side(raw: RawDomain | None, migration: Migration) -> Side:
    """A node that can be read, as the source of a migration."""
    job = raw is not None and raw.migrating
    ended = raw is not None and not raw.active and raw.reason in _ENDED
    shows = Shows.ENDED if ended else _shows(raw)
    if migration.substitute and raw is not None and raw.managed_save:
        shows = Shows.PAUSED  # it can go on from what was saved
    return Side(shows, job=job, raised=_epoch(raw) > migration.epoch)


def target_side(raw: RawDomain | None, migration: Migration) -> Side:
    """A node that can be read, as its target."""
    raised = _epoch(raw) > migration.epoch
    off = raw is not None and not raw.active
    ran = off and raw is not None and raw.reason in (*_ENDED, "destroyed", "saved")
    return Side(Shows.ENDED if ran and migration.substitute else _shows(raw), raised=raised)


def _epoch(raw: RawDomain | None) -> int:
    xmls = () if raw is None else (raw.inactive_xml, raw.active_xml)
    found = (from_domain(parse(xml)) for xml in xmls if xml)
    return max((memory.epoch for memory in found if memory is not None), default=0)


def _shows(raw: RawDomain | None) -> Shows:
    if raw is None:
        return Shows.ABSENT
    if not raw.active:
        return _WHY_OFF.get(raw.reason, Shows.OFF)
    if raw.state != "paused":
        return Shows.RUNS
    if raw.reason in ("migration", "starting-up"):
        return Shows.STOPPED if raw.inactive_xml else Shows.INCOMING
    return Shows.PAUSED if raw.reason == "user" else Shows.RUNS


_ENDED = frozenset(("shutdown", "crashed"))
"""Why an instance is off of which libvirt has not handed the guest over. Not among them: destroyed,
as what has landed is preceded by.
"""
_WHY_OFF = {"migrated": Shows.HANDED, "daemon": Shows.UNDONE, "failed": Shows.UNDONE}


def marked(raw: RawDomain | None) -> bool:
    """True if a domain may bear the mark of a migration. Found without parsing."""
    return raw is not None and (_TAG in raw.active_xml or _TAG in raw.inactive_xml)


def mark_of(copies: Mapping[str, RawDomain | None]) -> Migration | None:
    """The mark that says how the copies of one machine stand to each other, by their nodes. Where
    none bears one any more, or only such of an earlier time, the copy that was moved last is known
    by its epoch: the others were left behind.
    """
    marks = [mark for raw in copies.values() if (mark := migration_of(raw)) is not None]
    there = {node: raw for node, raw in copies.items() if raw is not None}
    newest = max(marks, key=lambda each: (each.epoch, each.substitute, each.at), default=None)
    if len(there) < 2:
        return newest
    epochs = {node: _epoch(raw) for node, raw in there.items()}
    last, other, *_ = sorted(epochs, key=lambda node: (-epochs[node], node))
    if newest is not None and epochs[last] <= newest.epoch + 1:
        return newest
    known = epochs[last] > epochs[other] and all(_ours(raw) for raw in there.values())
    return Migration("", other, last, 0, epochs[last] - 1) if known else newest


def _ours(raw: RawDomain) -> bool:
    """True if a domain says how often it was moved."""
    xml = raw.inactive_xml or raw.active_xml
    return bool(xml) and from_domain(parse(xml)) is not None


def migration_of(raw: RawDomain | None) -> Migration | None:
    """The mark of a migration that a domain bears, in whichever of its definitions."""
    if raw is None or not marked(raw):
        return None
    for xml in (raw.active_xml, raw.inactive_xml):
        memory = from_domain(parse(xml)) if _TAG in xml else None
        if memory is not None and memory.migration is not None:
            return memory.migration
    return None
