"""Who acts: a ref that the acting agent moves every minute. Others stand by, and take over once it
has not moved for three beats.

No agent believes another one's clock. How long the ref has not moved is measured from when one
first saw it so, and the acting agent stops by its own clock before anybody may take over. While
the repository is away, an agent that last knew of no other one goes on: virtual machines do not
wait for Git.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from agent.core.model import Json
from agent.gitrepo.repository import Repository, RepositoryError, StaleTip

LEASE = "refs/gitvirt/agent"
STANDBY = "refs/gitvirt/standby"
"""Moved by those who stand by, so that the acting agent knows that somebody may take over."""
BEAT = 60.0
MISSED_BEATS = 3
TERM = MISSED_BEATS * BEAT
MARGIN = 30.0
"""Seconds from the last deed of an agent that cannot renew its lease to the first of its heir."""
LEASE_FILE = "agent.json"
NEVER = float("-inf")


def uptime() -> float:
    """Seconds since this machine started, its sleep included; no one sets this clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Watched:
    """Since when a ref has not moved, as seen from here."""

    def __init__(self) -> None:
        self._tip: str | None = None
        self._since = NEVER

    def still_for(self, tip: str | None, at: float) -> float:
        if tip != self._tip:
            self._tip, self._since = tip, at
        return at - self._since


class Lease:
    """One agent's view of the lease. `may_act` is for any thread, the rest for the one that uses
    the repository.
    """

    def __init__(
        self, repository: Repository, instance: str, clock: Callable[[], float] = uptime
    ) -> None:
        self._repository, self._instance, self._clock = repository, instance, clock
        self._lease, self._standby = _Watched(), _Watched()
        self._leading = False
        self._beaten = NEVER
        """When the ref was last moved by this agent."""
        self._announced = NEVER
        self._alone = False
        """True if nobody else was there at the last look."""
        self._away = NEVER
        """When the repository last could not be reached."""

    def may_act(self) -> bool:
        """True while no other agent can have taken over."""
        at = self._clock()
        if not self._leading:
            return False
        return at < self._beaten + TERM - MARGIN or (self._alone and at < self._away + BEAT)

    def keep(self, refs: Mapping[str, str], now: float, revision: str) -> str:
        """Keep or take the lease; who has it, where that is somebody else. `now` is only told."""
        tip, at = refs.get(LEASE), self._clock()
        holder = self._holder(tip)
        still = self._lease.still_for(tip, at)
        others = self._standby.still_for(refs.get(STANDBY), at)
        if holder not in ("", self._instance) and still < TERM:
            self._leading = False
            self._announce(refs.get(STANDBY), now, at)
            return holder
        self._alone = STANDBY not in refs or others >= TERM
        if self._leading and holder == self._instance and at < self._beaten + BEAT:
            return ""
        try:
            self._write(LEASE, tip, {"instance": self._instance, "time": now, "revision": revision})
        except StaleTip:
            self._leading = False
            return "another agent that was faster"
        self._beaten, self._leading = at, True
        return ""

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
            tip = self._repository.fetch().get(LEASE)
            if self._holder(tip) == self._instance:
                self._write(LEASE, tip, {"instance": "", "time": 0.0, "revision": ""})

    def _announce(self, tip: str | None, now: float, at: float) -> None:
        if at < self._announced + BEAT:
            return
        with suppress(StaleTip):  # another one stands by too
            self._write(STANDBY, tip, {"instance": self._instance, "time": now})
        self._announced = at

    def _write(self, ref: str, tip: str | None, beat: Mapping[str, Json]) -> None:
        changes = {LEASE_FILE: (json.dumps(beat) + "\n").encode()}
        self._repository.commit(ref, tip, changes, "Agent is alive", parentless=True)

    def _holder(self, tip: str | None) -> str:
        data = self._repository.read_path(tip, LEASE_FILE) if tip is not None else None
        try:
            value = json.loads(data or b"{}")
        except ValueError:
            return ""
        return str(value.get("instance", "")) if isinstance(value, dict) else ""
