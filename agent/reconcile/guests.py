"""When guest agents are asked: at once, soon again while an interface has no address yet, and now
and then after that.
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
    cards: frozenset[str]
    """MAC addresses of the interfaces that it has."""


class Guests:
    """The guests whose agent has opened its channel, and when each is asked next."""

    def __init__(self) -> None:
        self._next: dict[Domain, _Next] = {}
        self.due = float("inf")
        """When the next one is to be asked."""

    def opened(self, domain: Domain, now: float, cards: frozenset[str] = frozenset()) -> None:
        """The agent's channel is open. `cards` are the MAC addresses of the guest's interfaces: one
        that comes while it runs has no address yet.
        """
        known = self._next.get(domain)
        if known is None or known.cards != cards:
            self._next[domain] = _Next(now, FIRST, cards)
            self.due = min(self.due, now)

    def closed(self, domain: Domain) -> None:
        """Nobody is there to be asked."""
        self._next.pop(domain, None)

    def answered(self, domain: Domain, info: GuestInfo, now: float) -> None:
        """One that has an address on each interface has said all for now: networks come up after
        agents. Where some have none for long, nobody may give them any.
        """
        turn = self._next.get(domain)
        if turn is None:
            return
        there = {
            mac
            for mac, addresses in info.addresses.items()
            if any(":" not in address for address in addresses)
        }
        if there and (turn.cards <= there or turn.wait >= LONGEST):
            self._next[domain] = _Next(now + SETTLED, SETTLED, turn.cards)

    def pop_due(self, now: float) -> list[Domain]:
        """Those to be asked now."""
        if now < self.due:
            return []
        due = [domain for domain, turn in self._next.items() if turn.at <= now]
        for domain in due:
            turn = self._next[domain]
            longer = SETTLED if turn.wait == SETTLED else min(turn.wait * 2, LONGEST)
            self._next[domain] = _Next(now + turn.wait, longer, turn.cards)
        self.due = min((turn.at for turn in self._next.values()), default=float("inf"))
        return due
