"""One pass, top to bottom: take the news in, accept, decide, act, write down."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import replace

from agent.core.facts import Engine
from agent.core.host import Host, HostEvent
from agent.core.known import FLEET
from agent.core.ledger import Record
from agent.core.marks import to_forget
from agent.core.model import Desired, Json, Key
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.places import Pools
from agent.reconcile.acting import REPEATED, Acting
from agent.reconcile.belongings import Belongings
from agent.reconcile.book import Book
from agent.reconcile.execute import Executor, Outcome
from agent.reconcile.git import Answer, GitWorker, Pushed, Synced, Withdrawn
from agent.reconcile.hosts import Hosts
from agent.reconcile.housekeeping import CLEARED, Housekeeping
from agent.reconcile.news import Lanes, ProgressNews
from agent.reconcile.placing import Placing
from agent.reconcile.plans.branches import BranchPlans
from agent.reconcile.plans.open_branches import OpenBranches, Surveyed
from agent.reconcile.plans.process import Planned, plan_branch
from agent.reconcile.proposals import Proposals
from agent.reconcile.repository import RepositorySide
from agent.reconcile.standing import Standing
from agent.reconcile.status_branch import Ledger, StatusBranch
from agent.reconcile.summary import Summary
from agent.reconcile.telling import Telling
from agent.reconcile.terms import Identity, Timing
from agent.reconcile.workers import Counter
from agent.reconcile.world import Observation, World
from agent.reconcile.writing import DETAILS_EVERY, Writing

log = logging.getLogger("gitvirt")

LONGEST_WAIT = 300.0
SETTLE_ROUNDS = 10


class Reconciler:
    """Owns the state of one agent. `run` is called from one thread; everything else only posts
    news.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        engine: Engine,
        git: GitWorker,
        status: StatusBranch,
        hosts: Mapping[str, Host],
        pools: Pools,
        executor: Executor,
        branches: OpenBranches,
        lanes: Lanes,
        identity: Identity,
        timing: Timing,
        wake: Callable[[], None],
    ) -> None:
        self._engine, self._identity, self._timing, self._wake = engine, identity, timing, wake
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._numbers = Counter()
        engine.put(FLEET, None, identity.fleet)
        folder = f"{identity.branches.folder}/" if identity.branches.folder else ""
        self._world = World(engine, identity.fleet)
        self._book = Book(engine, catalogue, self._world, identity.fleet, folder)
        self._belongings = Belongings(self._book)
        self._placing = Placing(engine)
        self._repository = RepositorySide(
            git, lanes.git, self.post, timing.poll, timing.status_interval, timing.jitter
        )
        self._hosts = Hosts(hosts, self._world, engine, lanes, self.post, self._numbers, pools)
        self._acting = Acting(
            engine,
            self._book,
            executor,
            lanes,
            self.post,
            timing.jitter,
            self._repository.origin,
            self._hosts.reachable,
        )
        self._housekeeping = Housekeeping(
            engine,
            self._book,
            self._world,
            self._hosts,
            executor,
            lanes,
            self.post,
            identity.fleet,
            timing.trash_retention,
        )
        self._writing = Writing(catalogue, status, self._book)
        self._plans = BranchPlans(
            branches,
            lambda change, known: plan_branch(
                catalogue, change, known, identity.fleet, folder, timing.clock()
            ),
            lanes,
            self.post,
            self._book.outbox,
        )
        self._proposals = Proposals(engine, self._repository)
        self._telling = Telling()
        self._loaded = False
        """True once the ledger has been read."""
        self._accepted = False
        """True while the objects in force are those of the newest commit."""
        self._deferred = False
        """True while there is something to write that can wait a moment."""
        self._applied: Mapping[str, Json] = {}
        self._standing = Standing()
        self._heads: Mapping[str, str] = {}
        """The other branches that there are."""

    # -- from outside, from any thread ---------------------------------------------------------

    def post(self, news: object) -> None:
        """Hand something to the next pass."""
        self._inbox.put(news)
        self._wake()

    def look_at_git(self) -> None:
        """Something may be new in the repository."""
        self._repository.wanted = True
        self._wake()

    def next_number(self) -> int:
        """Orders reads of the host by when they began."""
        return self._numbers.next()

    # -- the pass ------------------------------------------------------------------------------

    def run(self) -> float:
        """One pass. Returns seconds until the next one is due, if nothing happens before."""
        now, decided = self._timing.clock(), 0
        self._telling.begin()
        received = self._receive_all(now)
        self._hosts.ask(now)
        if self._repository.leading:
            self._accept(now)
            decided = self._decide(now)
            self._hosts.expect(uploads=bool(self._standing.expecting))
            self._acting.act(now)
            self._clear_away(now)
            self._proposals.ask(now)
            self._plan_branches(now)
            self._write(now)
        self._repository.ask(now, self._timing.clock)
        self._telling.end(received, decided, len(self._acting.busy))
        return max(0.0, self._due(now) - now)

    def _receive_all(self, now: float) -> int:
        """How many there were."""
        count = 0
        while True:
            try:
                news = self._inbox.get_nowait()
            except queue.Empty:
                return count
            self._receive(news, now)
            count += 1

    def _receive(self, news: object, now: float) -> None:
        match news:
            case Synced() | Pushed() | Withdrawn() | Answer():
                self._of_git(news, now)
            case Outcome():
                self._ended(news, now)
            case Surveyed():
                self._plans.surveyed(news, self._ledger, now)
            case Planned():
                self._plans.planned(news, now)
            case ProgressNews():
                self._acting.progress(news)
            case HostEvent():
                self._hosts.happened(news, now)
            case Observation():
                self._seen(news, now)

    def _of_git(self, news: Synced | Pushed | Withdrawn | Answer, now: float) -> None:
        match news:
            case Synced():
                self._synced(news, now)
            case Pushed():
                self._pushed(news, now)
            case Withdrawn():
                self._repository.withdrawn(news)
            case Answer():
                self._proposals.answered(news, now)

    def _ended(self, outcome: Outcome, now: float) -> None:
        for seen in outcome.seen:
            self._seen(seen, now)
        owner = self._housekeeping if outcome.key.kind in CLEARED else self._acting
        owner.ended(outcome, now)

    def _seen(self, news: Observation, now: float) -> None:
        unread = self._hosts.unread, self._hosts.known, self._world.mute
        self._hosts.observe(news, now)
        if (self._hosts.unread, self._hosts.known, self._world.mute) != unread:
            self._accepted = False  # what is new in Git may have waited for this

    def _synced(self, news: Synced, now: float) -> None:
        self._repository.synced(news, now)
        if not news.leading:
            self._loaded = self._accepted = False
            return
        if news.error is None and news.unreadable is None:
            self._plans.seen(news.revision, news.heads)
            self._heads = news.heads
        if news.ledger is not None:
            self._hosts.remember(news.ledger.agent)
            self._plans.load(news.ledger.plans)
            self._book.load(news.ledger)
            self._engine.forget()  # their reports went with the old ledger
            self._placing.forget()
            self._acting.forget(waits=self._repository.desired is not None)
            self._standing.clear()
            self._writing.forget()
            self._applied = self._applied or news.ledger.agent.get("applied", {})
            self._loaded, self._accepted = True, False
        if news.desired is not None:
            self._accepted = False

    def _pushed(self, news: Pushed, now: float) -> None:
        if self._repository.pushed(news, now):
            self._book.written()
            self._housekeeping.wake()
        else:
            self._writing.failed()

    def _accept(self, now: float) -> None:
        if (desired := self._acceptable(now)) is not None:
            book = self._book
            self._hosts.forget(to_forget((desired.manifests[key] for key in desired.asked), now))
            book.accept(desired, now, unread=self._hosts.unread, nodes=self._hosts.known)
            self._accepted, self._acting.waits = True, False
            problems = (*book.problems, *book.held)
            self._telling.accepted(book.records, problems, self._hosts.found())
        if self._accepted:  # what was merged is known by now
            self._proposals.branches(self._heads)

    def _acceptable(self, now: float) -> Desired | None:
        """What is to be accepted. Objects need the ledger, a commit, and one look at the hosts:
        names may be known there. Of several, those that are out of reach are not waited for.
        """
        hosts = self._hosts
        ready = self._loaded and not self._accepted and hosts.seen and hosts.looked(now)
        return self._repository.desired if ready else None

    def _decide(self, now: float) -> int:
        """How many decisions are not the same as before."""
        count = 0
        for _ in range(SETTLE_ROUNDS):
            self._book.state()
            changed = self._placing.settle(now)
            if not changed:
                break
            count += len(changed)
            for key in changed:
                self._decided(key, now)
            for key in changed:  # not before what was decided of the objects as they were
                self._belongings.renewed(key, self._engine.decisions.get(key), now)
        return count

    def _decided(self, key: Key, now: float) -> None:
        decision = self._engine.decisions.get(key)
        gone = decision is None or decision.gone
        self._acting.decided(key, None if gone else decision)
        self._standing.decided(key, None if gone else decision)
        self._proposals.decided(key, None if gone else decision)
        if decision is None:  # what bears its name now, if anything, is to be decided yet
            return
        if gone:
            if (record := self._book.records.get(key)) is not None:
                self._belongings.orphaned(record, now)
                self._book.remove(key, now, at_once=self._belongings.outlived(record))
                self._accepted = False  # its manifest may be back
            return
        if decision.makes or decision.drops or decision.becomes:
            self._belongings.decided(key, decision, now)
        if decision.status is not None:
            self._book.report(key, decision.status, now, decision.retired)

    def _clear_away(self, now: float) -> None:
        desired = self._repository.desired
        if not self._accepted or desired is None or not self._hosts.seen:
            return
        self._housekeeping.run(now, desired)
        if self._housekeeping.looked and self._repository.writable(now):
            finished, kept = self._housekeeping.finished(now)
            if finished:
                self._repository.withdraw(finished, kept)

    def _plan_branches(self, now: float) -> None:
        """What other branches would do to what main has put in force."""
        if self._accepted:
            book = self._book
            self._plans.changed(book.outbox.keys(), Ledger(None, book.records, book.trash.entries))
            self._plans.ask(now)

    def _write(self, now: float) -> None:
        """One commit for all that changed; a remote repository is not written to all the time."""
        self._deferred = False
        # What keeps the main branch from being read is said also where nothing was ever read.
        sayable = self._accepted or (self._loaded and self._repository.unreadable)
        if not sayable or not self._repository.writable(now):
            return
        agent = self._agent(now)
        if not self._writing.differs(agent):
            return
        book = self._book
        urgent = book.locks.taking or any(not book.is_saved(key) for key in self._acting.ready)
        if not urgent and (now < self._repository.push_at or self._writing.calm(agent, now)):
            self._deferred = True
            return
        revision = str(self._repository.attempted.get("revision", ""))
        self._repository.push(*self._writing.compose(agent, revision, now))

    def _ledger(self) -> Ledger:
        return replace(self._book.ledger(), agent=self._hosts.part())

    def _agent(self, now: float) -> dict[str, Json]:
        """agent.yaml. A revision is applied once nothing is left to do for it."""
        attempted = self._repository.attempted
        idle = self._accepted and not self._acting.ready and not self._acting.busy
        if idle and attempted and attempted["revision"] != self._applied.get("revision"):
            self._applied = {"revision": attempted["revision"], "since": timestamp(now)}
        return {
            "fleet": self._identity.fleet,
            "version": self._identity.version,
            "branch": self._identity.branches.main,
            "path": self._identity.branches.folder or ".",
            "attempted": attempted,
            "applied": self._applied,
            "repository": {
                "ready": not self._repository.unreadable,
                "message": self._repository.unreadable,
            },
            **self._hosts.part(),
        }

    def _due(self, now: float) -> float:
        due = [now + LONGEST_WAIT, self._repository.due(now), self._hosts.due(now)]
        if not self._repository.leading:
            return min(due)
        if (wake := self._engine.next_wake()) is not None:
            due.append(wake)
        if not self._repository.pushing:
            due.append(self._proposals.due(now))
        if self._accepted:
            due.append(self._plans.due())
        if self._acceptable(now) is not None:
            due.append(now)
        if self._deferred and not self._repository.pushing:
            due.append(max(self._repository.push_at, now + DETAILS_EVERY))
        if self._acting.startable() and not self._repository.pushing:
            due.append(now + REPEATED)
        if self._accepted and self._hosts.seen and not self._repository.pushing:
            due.append(self._housekeeping.due())
        return min(due)

    # -- for those who look --------------------------------------------------------------------

    def summary(self) -> Summary:
        """Where things stand after the last pass."""
        repository, book = self._repository, self._book
        return Summary(
            revision=str(repository.attempted.get("revision", "")),
            problems=(*book.problems, *book.held, *book.strays),
            waiting=tuple(sorted(self._standing.waiting)),
            wrong=tuple(sorted(self._standing.wrong)),
            busy=len(self._acting.busy) + len(self._housekeeping.busy),
            unsaved=len(book.outbox) + repository.pushing,
            synced=self._accepted and not repository.syncing and not repository.wanted,
            leading=repository.leading,
            git_error=repository.error,
            node_error=self._hosts.error,
        )

    @property
    def planning(self) -> bool:
        """True while some branch waits for its plan."""
        return self._plans.busy or self._plans.due() <= 0.0 or self._book.outbox.files > 0

    def records(self) -> Mapping[Key, Record]:
        """The objects in force."""
        return self._book.records
