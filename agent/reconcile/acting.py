"""From decisions to work under way: who may start now, what has ended, and what failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from agent.core.actions import Action, DropSnapshot, ImportImage, StartDomain, TakeSnapshot
from agent.core.facts import Decision, Engine, Passage
from agent.core.jobs import IDLE, Failure, Job, backoff
from agent.core.known import JOB, MANNER
from agent.core.migrating import Manner
from agent.core.model import Key
from agent.core.moves import AbortMigration
from agent.reconcile.book import Book
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.news import Lanes, Post, ProgressNews, reported
from agent.reconcile.verbs import lane

log = logging.getLogger("gitvirt")

KEPT_STARTS = 10
REPEATED = 1.0
"""The same actions again within so many seconds of their success achieve nothing."""
MOST_OUTDATED = 5
"""How often in a row something is decided anew at once because its host has changed meanwhile."""


class Acting:
    """One sequence of actions per object at a time."""

    def __init__(
        self,
        engine: Engine,
        book: Book,
        executor: Executor,
        lanes: Lanes,
        post: Post,
        jitter: Callable[[], float],
        origin: Callable[[str], str],
        reachable: Callable[[str], bool],
    ) -> None:
        self._engine, self._book, self._executor = engine, book, executor
        self._lanes, self._post, self._jitter = lanes, post, jitter
        self._origin, self._reachable = origin, reachable
        self.ready: dict[Key, Decision] = {}
        """Decisions with actions that have not been started."""
        self.busy: dict[Key, tuple[str, Ticket]] = {}
        """What is under way, and the uid of the object that it is for."""
        self.waits = False
        """True while what is decided follows from a ledger that may be older than what was done: an
        agent before this one may have carried out a commit that it has not written down.
        """
        self._moving: dict[Key, Passage] = {}
        """Machines that go from node to node, and those that are about to."""
        self._done: dict[Key, tuple[tuple[Action, ...], float]] = {}
        """What ended a moment ago had for effects, and when, oldest first."""

    def forget(self, *, waits: bool) -> None:
        """Everything is decided anew; what is under way goes on."""
        self.waits = waits
        self.ready.clear()
        self._moving.clear()

    def decided(self, key: Key, decision: Decision | None) -> None:
        """An object's decision has changed."""
        if decision is not None and decision.actions:
            self.ready[key] = decision
        else:
            self.ready.pop(key, None)
        if decision is None:
            self._done.pop(key, None)
        passage = None if decision is None else decision.passage
        if passage is not None:
            self._moving[key] = passage
        else:
            self._moving.pop(key, None)
        if key in self.busy:
            self._call_off(self.busy[key][1], decision)

    def act(self, now: float) -> None:
        """Start what is ready. An object that the status branch does not know yet waits for the
        next write.
        """
        if self.waits:
            return
        while self._done and next(iter(self._done.values()))[1] + REPEATED < now:
            del self._done[next(iter(self._done))]
        for key in self.startable():
            job, decision = self._job(key), self.ready[key]
            if job.busy or not self._book.is_saved(key) or self._repeats(key, decision, job, now):
                continue
            self._start(key, decision, job)

    def startable(self) -> list[Key]:
        """What is ready and waits for no sequence to end, also not for that of an object of the
        same name that is gone, for no node to come back, and for no turn.
        """
        free = (key for key in self.ready if key not in self.busy)
        return [
            key
            for key in free
            if all(self._reachable(action.node) for action in self.ready[key].actions)
            and self._has_room(key)
        ]

    def _has_room(self, key: Key) -> bool:
        """False of a machine that is about to leave a node, or to come to one, while as many as may
        do already, or older requests wait for that.
        """
        mine = self._moving.get(key)
        if mine is None or mine.begun:
            return True
        most = (self._engine.get(MANNER, None) or Manner()).at_once
        before = [
            each
            for other, each in self._moving.items()
            if other != key
            and (each.begun or other in self.busy or _rank(other, each) < _rank(key, mine))
        ]
        leave = sum(each.source == mine.source for each in before)
        come = sum(each.target == mine.target for each in before)
        return leave < most and come < most

    def ended(self, outcome: Outcome, now: float) -> None:
        """A sequence has ended; what it saw has been taken in."""
        key = outcome.key
        uid, ticket = self.busy.pop(key)
        actions = ticket.actions
        record = self._book.records.get(key)
        if record is None or record.obj.uid != uid:
            self._engine.put(JOB, key, None)
            return
        known = self._job(key)
        starts = known.starts
        again = any(isinstance(action, StartDomain) and action.again for action in actions)
        if again and "StartDomain" in outcome.done:
            starts = (*starts, now)[-KEPT_STARTS:]
        done = {**known.done, **dict.fromkeys(outcome.done, now)}
        result = outcome.result or known.result
        job = replace(known, busy=(), done=done, starts=starts, result=result, outdated=0)
        self._done.pop(key, None)
        if outcome.outdated and known.outdated < MOST_OUTDATED:
            log.info("%s: %s: %s", key, outcome.failed, outcome.message)
            self._engine.put(JOB, key, replace(job, outdated=known.outdated + 1))
        elif outcome.failed and not ticket.called_off.is_set():
            log.error("%s: %s failed: %s", key, outcome.failed, outcome.message)
            self._fail(key, job, outcome, now, about=(outcome.about,))
            return
        else:
            if not outcome.failed:
                self._done[key] = _effects(actions), now
            well = replace(job, error="", reason="", failed="", about={}, attempts=0)
            self._engine.put(JOB, key, well)
        self._again(key)

    def _again(self, key: Key) -> None:
        """What is still decided is to be done, also where the decision stays the same."""
        if (decision := self._engine.decisions.get(key)) is not None and decision.actions:
            self.ready[key] = decision

    def progress(self, news: ProgressNews) -> None:
        job = self._job(news.key)
        if job.busy:
            job = replace(job, progress=news.percent, trouble=news.trouble, speed=news.speed)
            self._engine.put(JOB, news.key, job)

    def _job(self, key: Key) -> Job:
        job: Job | None = self._engine.get(JOB, key)
        return job or IDLE

    def _start(self, key: Key, decision: Decision, job: Job) -> None:
        verbs = tuple(action.verb for action in decision.actions)
        self.ready.pop(key)
        obj = self._book.records[key].obj
        why = decision.why or self._origin(obj.source)
        log.info("%s: %s%s", key, ", ".join(verbs), f": {why}" if why else "")
        self._engine.put(JOB, key, replace(job, busy=verbs, progress=0, trouble="", speed=(0, 0)))
        ticket = Ticket(key, obj.generation, decision.actions)
        self.busy[key] = obj.uid, ticket
        lanes = self._lanes.at(decision.actions[0].node)  # pragma: no mutate: all are on one
        work = reported(self._post, lambda: self._executor.run(ticket), ticket.failed)
        lane(decision.actions, lanes)(work)

    def _call_off(self, ticket: Ticket, decision: Decision | None) -> None:
        """End a long job that is not wanted any more."""
        wanted = decision.actions if decision is not None else ()
        if any(isinstance(action, AbortMigration) for action in wanted):
            ticket.called_off.set()
        taking = any(isinstance(action, TakeSnapshot) for action in ticket.actions)
        if taking and (decision is None or any(isinstance(each, DropSnapshot) for each in wanted)):
            ticket.called_off.set()
        sources = [action.source.identity for action in wanted if isinstance(action, ImportImage)]
        for action in ticket.actions:
            if isinstance(action, ImportImage) and action.source.identity not in sources:
                if not ticket.called_off.is_set():
                    log.info("%s: the download is called off: nothing needs it now", ticket.key)
                ticket.called_off.set()

    def _repeats(self, key: Key, decision: Decision, job: Job, now: float) -> bool:
        """True if just this succeeded a moment ago and is wanted again: it would go on for ever."""
        last = self._done.get(key)
        if last is None or job.failed or last[0] != _effects(decision.actions):
            return False
        verbs = ", ".join(action.verb for action in decision.actions)
        message = f"{verbs} succeeded and changed nothing: something on the host undoes it."
        log.error("%s: %s", key, message)
        generation = self._book.records[key].obj.generation
        outcome = Outcome(
            key,
            generation,
            failed=decision.actions[0].verb,
            reason="NotConverging",
            message=message,
        )
        self._fail(key, job, outcome, now, about={each.about for each in decision.actions})
        return True

    def _fail(
        self, key: Key, job: Job, outcome: Outcome, now: float, about: Collection[str]
    ) -> None:
        attempts = job.attempts + 1
        failure = Failure(outcome.reason, outcome.message)
        failed = replace(
            job,
            busy=(),
            error=outcome.message,
            reason=outcome.reason,
            failed=outcome.failed,
            about={**job.about, **{each: failure for each in about if each}},
            attempts=attempts,
            retry=outcome.retry,
            retry_at=now + backoff(attempts, self._jitter()),
            generation=outcome.generation,
        )
        self._engine.put(JOB, key, failed)


def _rank(key: Key, passage: Passage) -> tuple[str, Key]:
    return passage.asked, key


def _effects(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    return tuple(action.effect for action in actions)
