"""What is to be proposed to people, and what the repository says of it: facts for the next pass."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from agent.core.facts import Decision, Engine
from agent.core.known import CLONE_BRANCHES, PROPOSED
from agent.core.model import Key
from agent.core.proposals import CLONES, Proposal, Proposed
from agent.reconcile.git import Answer
from agent.reconcile.repository import FETCH_AGAIN, RepositorySide

log = logging.getLogger("gitvirt")


class Proposals:
    """One at a time is looked at or written. What fails is tried again, after the others."""

    def __init__(self, engine: Engine, repository: RepositorySide) -> None:
        self._engine, self._repository = engine, repository
        self._wanted: dict[Key, Proposal] = {}
        self._uids: dict[Key, str] = {}
        """Of those of which something is stated."""
        self._asked: tuple[Key, Proposal] | None = None
        self._refs: Iterable[str] = ()
        self._again = 0.0
        """When one that failed may be tried again."""

    def branches(self, refs: Iterable[str]) -> None:
        """These are there, as of the commit that has been accepted."""
        if refs is self._refs:
            return
        self._refs = refs
        clones = frozenset(ref for ref in refs if ref.startswith(CLONES))
        self._engine.put(CLONE_BRANCHES, None, clones)

    def decided(self, key: Key, decision: Decision | None) -> None:
        """An object's decision has changed."""
        if decision is not None and decision.proposes is not None:
            self._wanted[key] = decision.proposes
            return
        self._wanted.pop(key, None)
        if decision is None and key in self._uids:
            self._engine.put(PROPOSED, self._uids.pop(key), None)

    def ask(self, now: float) -> None:
        """Have the next one looked at or written."""
        if self._wanted and now >= self._again and self._repository.writable(now):
            self._asked = next(iter(self._wanted.items()))
            self._repository.propose(self._asked[1])

    def answered(self, answer: Answer, now: float) -> None:
        self._repository.answered(answer)
        asked, self._asked = self._asked, None
        if asked is None:
            return
        key, proposal = asked
        if self._wanted.get(key) != proposal:
            return  # nobody wants it any more
        told = answer.proposed
        del self._wanted[key]
        if told is None:
            self._again, self._wanted[key] = now + FETCH_AGAIN, proposal
            log.warning("%s: %s: %s", key, proposal.subject, answer.error)
            told = Proposed(proposal.uid, proposal.written, error=f"{answer.error}")
        elif told.commit:
            log.info("%s: %s is on branch %s", key, proposal.subject, proposal.ref)
        self._uids[key] = proposal.uid
        self._engine.put(PROPOSED, proposal.uid, told)

    def due(self, now: float) -> float:
        """When one is to be asked for; what is under way wakes by its end."""
        waits = bool(self._wanted) and self._asked is None
        return max(now, self._again) if waits else float("inf")
