"""Carrying actions out, one object's sequence by one worker. Nothing here decides."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.actions import Action
from agent.core.host import Host, HostError
from agent.core.mistakes import INTERNAL, mistake
from agent.core.model import Json, Key
from agent.images.errors import CancelledError, ImageError
from agent.reconcile.supply import Source, Supplier
from agent.reconcile.verbs import verb_of
from agent.reconcile.verbs.site import Locks, Sharing, Site
from agent.reconcile.verbs.verb import OutdatedError
from agent.reconcile.world import DomainRead, NetworkRead, Observation

log = logging.getLogger("gitvirt")


@dataclass
class Outcome:
    """How one object's sequence ended, and what was seen on the way."""

    key: Key
    generation: int
    done: list[str] = field(default_factory=list)
    failed: str = ""
    about: str = ""
    reason: str = ""
    message: str = ""
    retry: bool = True
    result: Mapping[str, Json] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    outdated: bool = False
    """True if what failed was left alone: what it was decided on has changed."""


@dataclass(frozen=True)
class Ticket:
    """One object's sequence on its way to a worker."""

    key: Key
    generation: int
    actions: tuple[Action, ...]
    called_off: threading.Event = field(default_factory=threading.Event)
    """Set, at any time, once a download that is part of it is not wanted any more."""

    def failed(self, message: str) -> Outcome:
        """How it ended where it should never have."""
        verb = self.actions[0].verb
        return Outcome(self.key, self.generation, failed=verb, reason=INTERNAL, message=message)


def by_itself(node: str, _pool: str) -> tuple[str, ...]:
    """For `Sharing`: no other node has a node's volumes."""
    return (node,)


class Executor:
    """Carries out sequences, on whatever nodes. Safe to call from several threads."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        source: Source,
        number: Callable[[], int],
        stopping: Callable[[], bool],
        may_act: Callable[[], bool],
        sharing: Sharing = by_itself,
    ) -> None:
        self._hosts, self._source, self._sharing = hosts, source, sharing
        self._number, self._stopping, self._may_act = number, stopping, may_act
        self._locks = Locks()

    def run(self, ticket: Ticket) -> Outcome:
        """Carry out a sequence until one action fails, then look at what was touched."""
        outcome = Outcome(ticket.key, ticket.generation)
        touched = {pair for action in ticket.actions for pair in verb_of(action).touches(action)}
        networks = {(each.node, verb_of(each).changes(each)) for each in ticket.actions}
        for action in ticket.actions:
            outcome.failed, outcome.about = action.verb, action.about
            try:
                self._carry_out(action, ticket, outcome)
            except (HostError, ImageError) as error:
                outcome.reason, outcome.message = error.reason, str(error)
                outcome.retry = error.retry or not isinstance(error, ImageError)
                if isinstance(error, OutdatedError):
                    outcome.outdated = True
                    touched.update(error.changed)
                break
            except Exception as error:  # what was done before is not lost with it
                log.exception("%s: %s: a mistake in gitvirt itself", ticket.key, action.verb)
                outcome.reason, outcome.message = INTERNAL, mistake(error)
                break
            outcome.done.append(action.verb)
            outcome.failed = ""
        outcome.seen += self._look(touched)
        outcome.seen += self._look_at_networks(networks)
        return outcome

    def _carry_out(self, action: Action, ticket: Ticket, outcome: Outcome) -> None:
        """Look and act in the same breath: whatever it had to wait for lies behind it then."""

        def unwanted() -> bool:
            return self._stopping() or ticket.called_off.is_set()

        def check() -> None:
            self._check(ticket)

        supply = Supplier(self._source, ticket.key, unwanted, self._stopping)
        told = supply.told()
        site = Site(
            *(action.node, self._hosts, self._sharing, self._locks, supply, check),
            told=told.percent,
            trouble=told.trouble,
        )
        site.at(action.node)  # a node that nobody knows is told before anything else
        verb = verb_of(action)
        with verb.alone(action, site):
            check()
            if verb.stands(action, site):
                done = verb.perform(action, site)
                outcome.seen += done.seen
                outcome.result = done.result or outcome.result

    def _check(self, ticket: Ticket) -> None:
        """Nothing is begun once the agent ends, once another one may act in its place, or once
        nobody wants it.
        """
        if self._stopping():
            raise HostError("Stopping", "the agent is ending")
        if not self._may_act():
            raise HostError("LeaseLost", "another agent may act by now: waiting for the lease")
        if ticket.called_off.is_set():
            raise CancelledError

    def _look(self, touched: Iterable[tuple[str, str]]) -> list[DomainRead]:
        """Read every domain that was touched."""
        seen = []
        for node, uuid in sorted(touched):
            number, host = self._number(), self._hosts.get(node)
            try:
                if host is not None:
                    seen.append(DomainRead(number, node, uuid, host.read_domain(uuid)))
            except HostError:
                continue  # the next full read sees it
        return seen

    def _look_at_networks(self, networks: Iterable[tuple[str, str]]) -> list[NetworkRead]:
        """Read every network that was changed."""
        seen = []
        for node, name in sorted(networks):
            number, host = self._number(), self._hosts.get(node)
            try:
                if host is not None and name:
                    seen.append(NetworkRead(number, node, name, host.read_network(name)))
            except HostError:
                continue  # the next full read sees it
        return seen
