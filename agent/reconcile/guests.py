"""When guest agents are asked: at once, soon again while they have no address yet, and now and then
after that.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.host import GuestInfo

FIRST = 1.0
"""Seconds until a guest that did not say all is asked again; each time twice as many."""
LONGEST = 60.0
SETTLED = 300.0
"""Seconds until one that said all is asked again."""

Domain = str
"""UUID."""


@dataclass(frozen=True)
class _Next:
    at: float
    wait: float
    """Seconds after that."""


class Guests:
    """The guests whose agent has opened its channel, and when each is asked next."""

    def __init__(self) -> None:
        self._next: dict[Domain, _Next] = {}
        self.due = float("inf")
        """When the next one is to be asked."""

    def opened(self, domain: Domain, now: float) -> None:
        """The agent's channel is open."""
        if domain not in self._next:
            self._next[domain] = _Next(now, FIRST)
            self.due = min(self.due, now)

    def closed(self, domain: Domain) -> None:
        """Nobody is there to be asked."""
        self._next.pop(domain, None)

    def answered(self, domain: Domain, info: GuestInfo, now: float) -> None:
        """One that has an address has said all for now: networks come up after agents."""
        listed = (address for addresses in info.addresses.values() for address in addresses)
        if domain in self._next and any(":" not in address for address in listed):
            self._next[domain] = _Next(now + SETTLED, SETTLED)

    def pop_due(self, now: float) -> list[Domain]:
        """Those to be asked now."""
        if now < self.due:
            return []
        due = [domain for domain, turn in self._next.items() if turn.at <= now]
        for domain in due:
            wait = self._next[domain].wait
            longer = SETTLED if wait == SETTLED else min(wait * 2, LONGEST)
            self._next[domain] = _Next(now + wait, longer)
        self.due = min((turn.at for turn in self._next.values()), default=float("inf"))
        return due
