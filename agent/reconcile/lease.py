"""Who acts for a fleet: a ref that the acting agent moves every minute. Others stand by, and take
over once it has not moved for three beats.

No agent believes another one's clock. How long the ref has not moved is measured from when one
first saw it so, and the acting agent stops by its own clock before anybody may take over. While
the repository is away, an agent that last knew of no other one goes on: virtual machines do not
wait for Git.

Each fleet has a lease of its own. An agent that knows of no fleets has the default one's, whatever
its fleet: everybody stands by for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from agent.core.model import Json
from agent.gitrepo.repository import Repository, RepositoryError, StaleTip
from agent.reconcile.beats import (
    BEAT_FILE,
    LEASE,
    STANDBY,
    Beat,
    is_lease,
    lease_ref,
    read,
    standby_ref,
)

BEAT = 60.0
MISSED_BEATS = 3
TERM = MISSED_BEATS * BEAT
MARGIN = 30.0
"""Seconds from the last deed of an agent that cannot renew its lease to the first of its heir."""
LONG_AGO = float("-inf")


def uptime() -> float:
    """Seconds since this machine started, its sleep included; no one sets this clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SharedBranch(RepositoryError):  # says what it is
    """Another fleet's agent uses a branch that must be one's own."""

    def __init__(self, ref: str, theirs: Beat, ours: Beat) -> None:
        super().__init__(
            "SharedBranch",
            f"{theirs.instance} takes operations from {ref} for fleet {theirs.fleet}, and this "
            f"agent is of fleet {ours.fleet}: each of them would carry out what is meant for the "
            "other. Give each fleet in a repository an --operations-branch and a --status-branch "
            "of its own",
        )


class _Watched:
    """Since when a ref has not moved, as seen from here, and what it says."""

    def __init__(self) -> None:
        self._tip: str | None = None
        self._since = LONG_AGO
        self.beat = Beat()

    def still_for(self, tip: str | None, at: float) -> float:
        if tip != self._tip:
            self._tip, self._since = tip, at
        return at - self._since

    def look(self, repository: Repository, tip: str | None, at: float) -> float:
        """How long it has been still; what it says is in `beat`."""
        if tip != self._tip:
            self.beat = read(repository, tip)
        return self.still_for(tip, at)


class Lease:
    """One agent's view of the lease. `may_act` is for any thread, the rest for the one that uses
    the repository.
    """

    def __init__(
        self, repository: Repository, me: Beat, clock: Callable[[], float] = uptime
    ) -> None:
        self._repository, self._me, self._clock = repository, me, clock
        fleet = me.fleet or ""
        self._ref, self._standby_ref = lease_ref(fleet), standby_ref(fleet)
        self._leases: dict[str, _Watched] = {}
        self._standby = _Watched()
        self._leading = False
        self._beaten = LONG_AGO
        """When the ref was last moved by this agent."""
        self._announced = LONG_AGO
        self._alone = False  # pragma: no mutate: asked only of who leads, who has looked
        """True if nobody else was there at the last look."""
        self._away = LONG_AGO
        """When the repository last could not be reached."""

    def may_act(self) -> bool:
        """True while no other agent can have taken over."""
        at = self._clock()
        if not self._leading:
            return False
        return at < self._beaten + TERM - MARGIN or (self._alone and at < self._away + BEAT)

    def keep(self, refs: Mapping[str, str], now: float, revision: str) -> str:
        """Keep or take the lease; who has it, where that is somebody else. `now` is only told.
        Raises SharedBranch.
        """
        at = self._clock()
        alive = self._alive(refs, at)
        others = self._standby.still_for(refs.get(self._standby_ref), at)
        for ref, beat in alive.items():
            if self._is_rival(ref, beat):
                self._leading = False
                standby = STANDBY if ref == LEASE else self._standby_ref
                self._announce(standby, refs.get(standby), now, at)
                return self._told(beat)
        self._check_branches(alive.values())
        self._alone = self._standby_ref not in refs or others >= TERM
        tip = refs.get(self._ref)
        mine = self._leases[self._ref].beat if self._ref in self._leases else Beat()
        if self._leading and mine.instance == self._me.instance and at < self._beaten + BEAT:
            return ""
        try:
            self._write(self._ref, tip, self._me, time=now, revision=revision)
        except StaleTip:
            self._leading = False
            return "another agent that was faster"
        self._beaten, self._leading = at, True
        return ""

    def refs(self) -> tuple[str, ...]:
        """What this agent writes."""
        return (self._ref, self._standby_ref, STANDBY)

    def branches(self) -> frozenset[str]:
        """Branches of other fleets' agents."""
        beats = (watched.beat for watched in self._leases.values())
        return frozenset(ref for beat in beats for ref in (beat.status, beat.operations) if ref)

    def renew_in(self) -> float:
        """Seconds until the lease is to be looked at again."""
        return max(0.0, self._beaten + BEAT - self._clock()) if self._leading else BEAT

    def failed(self) -> None:
        """The repository could not be reached."""
        self._away = self._clock()

    def release(self) -> None:
        """Give the lease up, so that another agent may act at once."""
        leading, self._leading = self._leading, False
        if not leading:
            return
        with suppress(RepositoryError):  # it runs out by itself
            tip = self._repository.fetch().get(self._ref)
            if read(self._repository, tip).instance == self._me.instance:
                self._write(self._ref, tip, replace(self._me, instance=""), time=0.0, revision="")

    def _alive(self, refs: Mapping[str, str], at: float) -> dict[str, Beat]:
        """Other agents that act, for whatever fleet, by the refs of their leases."""
        alive = {}
        known, self._leases = self._leases, {}
        for ref in filter(is_lease, refs):
            watched = self._leases[ref] = known.get(ref) or _Watched()
            still = watched.look(self._repository, refs[ref], at)
            if still < TERM and watched.beat.instance not in ("", self._me.instance):
                alive[ref] = watched.beat
        return alive

    def _is_rival(self, ref: str, beat: Beat) -> bool:
        """True for who acts on what this agent would act on."""
        return ref == self._ref or (ref == LEASE and beat.fleet is None)

    def _told(self, beat: Beat) -> str:
        if beat.fleet is None and self._ref != LEASE:
            return f"{beat.instance}, of a version without fleets,"
        if beat.status not in ("", self._me.status):
            return f"{beat.instance}, of the same fleet, with the status in {beat.status},"
        return beat.instance

    def _check_branches(self, others: Iterable[Beat]) -> None:
        """Of two who are there already, one goes on."""
        for beat in others:
            first = self._leading and (
                (self._me.fleet or "") < (beat.fleet or "")  # pragma: no mutate: they are others'
            )
            if beat.operations == self._me.operations and not first:
                self._leading = False
                raise SharedBranch(beat.operations, beat, self._me)

    def _announce(self, ref: str, tip: str | None, now: float, at: float) -> None:
        if at < self._announced + BEAT:
            return
        with suppress(StaleTip):  # another one stands by too
            self._write(ref, tip, self._me, time=now)
        self._announced = at

    def _write(self, ref: str, tip: str | None, beat: Beat, **more: Json) -> None:
        changes = {BEAT_FILE: beat.data(**more)}
        self._repository.commit(ref, tip, changes, "Agent is alive", parentless=True)
