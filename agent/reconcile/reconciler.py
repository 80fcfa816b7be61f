"""One pass, top to bottom: take the news in, accept, decide, write down, act."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from agent.core import overview
from agent.core.facts import Decision, Engine
from agent.core.host import Host, HostError, HostEvent
from agent.core.identity import POOL
from agent.core.jobs import IDLE, Job, backoff
from agent.core.ledger import FLEET_FILE, document, dump
from agent.core.model import Desired, Json, Key, Problem
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.reconcile.book import Book
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.git import Branches, GitWorker, Pushed, Synced
from agent.reconcile.message import compose
from agent.reconcile.status_branch import StatusBranch, problems_file
from agent.reconcile.world import (
    DomainRead,
    FullRead,
    GuestRead,
    NodeLost,
    Observation,
    World,
    wants_guest,
)

log = logging.getLogger("gitvirt")

FULL_READ_EVERY = 300.0
RETRY_GIT = 5.0
LOST_READ_RETRY = 5.0
SETTLE_ROUNDS = 10
KEPT_STARTS = 10
REPEATED = 1.0
"""The same actions again within so many seconds of their success achieve nothing."""

Submit = Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class Lanes:
    """Where work that may block goes: each takes a task and runs it beside the pass."""

    git: Submit
    reads: Submit
    actions: Submit
    imports: Submit


@dataclass(frozen=True)
class ProgressNews:
    key: Key
    percent: int


@dataclass(frozen=True)
class Summary:
    """Where things stand, for `run --once` and for logs."""

    revision: str
    problems: tuple[Problem, ...]
    waiting: tuple[Key, ...]
    wrong: tuple[Key, ...]
    """Objects that are not as their manifest wants them."""
    busy: int
    unsaved: int
    synced: bool
    leading: bool
    git_error: str
    node_error: str

    @property
    def settled(self) -> bool:
        return self.synced and not self.waiting and not self.busy and not self.unsaved


class Reconciler:
    """Owns the state of one agent. `run` is called from one thread; everything else only posts news."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        engine: Engine,
        git: GitWorker,
        status: StatusBranch,
        host: Host,
        executor: Executor,
        lanes: Lanes,
        branches: Branches,
        fleet: str,
        version: str,
        poll: float,
        status_interval: float,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._catalogue, self._engine, self._git, self._status = catalogue, engine, git, status
        self._host, self._executor, self._lanes, self._branches = host, executor, lanes, branches
        self._fleet, self._version, self._poll = fleet, version, poll
        self._status_interval, self._clock, self._jitter, self._wake = status_interval, clock, jitter, wake
        self._world = World(engine, fleet)
        folder = f"{branches.folder}/" if branches.folder else ""
        self._book = Book(engine, catalogue, self._world, fleet, folder)
        engine.put("setting", "fleet", fleet)
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._numbers = _Counter()
        self._desired: Desired | None = None
        self._loaded = False
        self._accepted = False
        self._leading = True
        self._syncing = self._reading = self._pushing = False
        self._sync_at = self._read_at = self._push_at = 0.0
        self._sync_wanted = False
        self._git_error = self._node_error = ""
        self._ready: dict[Key, Decision] = {}
        self._waiting: set[Key] = set()
        self._wrong: set[Key] = set()
        self._last: dict[Key, tuple[Decision, float]] = {}
        self._busy: set[Key] = set()
        self._guests_asked: dict[tuple[str, str], str] = {}
        self._dirty_domains: set[tuple[str, str]] = set()
        self._attempted: dict[str, Json] = {}
        self._applied: dict[str, Json] = {}
        self._agent_file: Mapping[str, Json] = {}
        self._problems_written: tuple[Problem, ...] | None = None
        self._documents: dict[Key, dict[str, Json]] = {}
        none: frozenset[Key] = frozenset()
        self._in_flight = (none, none, none)
        """Keys of the write under way: changed, removed, back from the trash."""
        host.subscribe(self._event)

    # -- from outside --------------------------------------------------------------------------

    def post(self, news: object) -> None:
        """Hand something to the next pass. From any thread."""
        self._inbox.put(news)
        self._wake()

    def look_at_git(self) -> None:
        """Something may be new in the repository. From any thread."""
        self._sync_wanted = True
        self._wake()

    def next_number(self) -> int:
        return self._numbers.next()

    def _event(self, event: HostEvent) -> None:
        self.post(event)

    # -- the pass ------------------------------------------------------------------------------

    def run(self) -> float:
        """One pass. Returns seconds until the next one is due, if nothing happens before."""
        now = self._clock()
        self._take_news(now)
        self._ask_for_news(now)
        if self._leading:
            self._accept(now)
            self._settle(now)
            self._act(now)
            self._write(now)
        return max(0.0, self._next(now) - now)

    def _take_news(self, now: float) -> None:
        while True:
            try:
                news = self._inbox.get_nowait()
            except queue.Empty:
                break
            match news:
                case Synced():
                    self._synced(news, now)
                case Pushed():
                    self._pushed(news, now)
                case Outcome():
                    self._ended(news, now)
                case ProgressNews():
                    self._progress(news)
                case HostEvent():
                    self._happened(news)
                case DomainRead() | FullRead() | GuestRead() | NodeLost():
                    self._seen(news, now)

    # -- Git -----------------------------------------------------------------------------------

    def _synced(self, news: Synced, now: float) -> None:
        self._syncing = False
        self._sync_at = now + self._poll * (0.9 + 0.2 * self._jitter())
        if news.error is not None:
            if str(news.error) != self._git_error:
                log.error("repository: %s", news.error)
            self._git_error = str(news.error)
            self._sync_at = min(self._sync_at, now + RETRY_GIT)
            return
        self._git_error = ""
        if news.leading != self._leading:
            log.info("another agent acts: %s" if not news.leading else "this agent acts now", *([news.leader] if not news.leading else []))
        if not news.leading:
            self._leading = self._loaded = self._accepted = False
            return
        self._leading = True
        if news.ledger is not None:
            self._book.load(news.ledger)
            self._documents = {}
            self._agent_file, self._problems_written = {}, None
            self._loaded, self._accepted = True, False
        if news.desired is not None:
            self._desired, self._accepted = news.desired, False
            if news.revision != self._attempted.get("revision"):
                self._attempted = {"revision": news.revision, "since": timestamp(now)}
                self._push_at = now
                log.info("revision %s: %d manifests, %d problems", news.revision[:12], len(news.desired.manifests), len(news.desired.problems))

    def _pushed(self, news: Pushed, now: float) -> None:
        self._pushing = False
        if news.tip is not None:
            for key in news.keys:
                if (record := self._book.records.get(key)) is not None:
                    self._book.saved[key] = record.obj.uid
            self._push_at = now + self._status_interval
            return
        if not news.stale and str(news.error) != self._git_error:
            log.error("status branch: %s", news.error)
            self._git_error = str(news.error)
        # what was to be written is decided again from what is there
        keys, removed, back = self._in_flight
        self._book.unsaved |= keys & self._book.records.keys()
        self._book.removed |= removed - self._book.records.keys()
        self._book.back |= back
        self._agent_file = {}
        self._push_at = now if news.stale else now + RETRY_GIT
        self._sync_wanted = self._sync_wanted or news.stale

    def _ask_for_news(self, now: float) -> None:
        if not self._syncing and not self._pushing and (self._sync_wanted or now >= self._sync_at):
            self._syncing, self._sync_wanted = True, False
            self._lanes.git(lambda: self.post(self._git.sync(self._clock())))
        if not self._reading and now >= self._read_at:
            self._reading = True
            self._lanes.reads(self._read_all)
        for node, uuid in self._dirty_domains:
            self._read_domain(node, uuid)
        self._dirty_domains = set()

    # -- hosts ---------------------------------------------------------------------------------

    def _read_all(self) -> None:
        number = self.next_number()
        try:
            self._host.ensure_pool(POOL)
            self.post(FullRead(number, self._host.read(frozenset({POOL}))))
        except HostError as error:
            self.post(NodeLost(self._host.name, str(error)))

    def _read_domain(self, node: str, uuid: str) -> None:
        def read() -> None:
            number = self.next_number()
            try:
                self.post(DomainRead(number, node, uuid, self._host.read_domain(uuid)))
            except HostError:
                self.post(HostEvent(node, "", "unreadable"))

        self._lanes.reads(read)

    def _happened(self, event: HostEvent) -> None:
        if event.what == "disconnected":
            self._node_error = "the connection to libvirt is lost"
            log.warning("node %s: %s", event.node, self._node_error)
        elif event.uuid:
            self._dirty_domains.add((event.node or self._host.name, event.uuid))
        else:
            self._read_at = 0.0 if event.what != "unreadable" else self._clock() + LOST_READ_RETRY

    def _seen(self, news: Observation, now: float) -> None:
        if isinstance(news, FullRead):
            self._reading = False
            self._read_at = now + FULL_READ_EVERY
            if self._node_error:
                log.info("node %s: reachable again", news.reading.node.name)
            self._node_error = ""
        elif isinstance(news, NodeLost):
            self._reading = False
            self._read_at = now + LOST_READ_RETRY
            if news.message != self._node_error:
                log.error("node: %s", news.message)
            self._node_error = news.message
        self._world.take(news)
        if isinstance(news, FullRead):
            for node, uuid in self._world.domains():
                self._ask_guest(node, uuid)
        elif isinstance(news, DomainRead):
            self._ask_guest(news.node, news.uuid)

    def _ask_guest(self, node: str, uuid: str) -> None:
        """Ask a guest agent what runs there, once for each time that it opens its channel."""
        known = self._world.domains().get((node, uuid))
        if known is None or not wants_guest(known[1]):
            self._guests_asked.pop((node, uuid), None)
            return
        if (node, uuid) in self._guests_asked or self._engine.get("domain", (node, uuid)) is None:
            return
        self._guests_asked[node, uuid] = known[1].active_xml

        def ask() -> None:
            try:
                info = self._host.guest_info(uuid)
            except HostError:
                info = None
            if info is not None:
                self.post(GuestRead(node, uuid, info))

        self._lanes.imports(ask)

    # -- deciding ------------------------------------------------------------------------------

    def _accept(self, now: float) -> None:
        """Objects need the ledger, a commit, and one look at the host: names may be known there."""
        if self._accepted or not self._loaded or self._desired is None:
            return
        if not any(problem == "" for problem in self._world.nodes.values()):
            return
        self._book.take(self._desired, now)
        self._accepted = True

    def _settle(self, now: float) -> None:
        if not self._accepted and not self._book.records:
            return
        for _ in range(SETTLE_ROUNDS):
            changed = self._engine.settle(now)
            if not changed:
                break
            for key in changed:
                self._decided(key, now)

    def _decided(self, key: Key, now: float) -> None:
        decision = self._engine.decisions.get(key)
        self._documents.pop(key, None)
        if decision is None or decision.gone:
            self._ready.pop(key, None)
            self._waiting.discard(key)
            self._wrong.discard(key)
            if decision is not None and key in self._book.records:
                self._book.remove(key)
                self._accepted = self._accepted and (self._desired is None or key not in self._desired.manifests)
            return
        if decision.actions:
            self._ready[key] = decision
        else:
            self._ready.pop(key, None)
        (self._waiting.add if decision.waiting else self._waiting.discard)(key)
        (self._wrong.discard if decision.ok else self._wrong.add)(key)
        if decision.status is not None:
            self._book.report(key, decision.status, now)

    # -- acting --------------------------------------------------------------------------------

    def _act(self, now: float) -> None:
        """Start what is ready. An object that the status branch does not know yet has to wait for the next write."""
        if self._node_error:
            return
        for key, decision in list(self._ready.items()):
            job: Job = self._engine.get("job", key) or IDLE
            if job.busy or not self._book.is_saved(key):
                continue
            if self._repeats(key, decision, job, now):
                continue
            self._start(key, decision, job)

    def _repeats(self, key: Key, decision: Decision, job: Job, now: float) -> bool:
        last = self._last.get(key)
        if last is None or job.failed or last[0].actions != decision.actions or now > last[1] + REPEATED:
            return False
        verbs = ", ".join(action.verb for action in decision.actions)
        message = f"{verbs} succeeded and changed nothing: something on the host undoes it."
        log.error("%s: %s", key, message)
        self._fail(key, job, "NotConverging", message, decision.actions[0].verb, now)
        return True

    def _start(self, key: Key, decision: Decision, job: Job) -> None:
        verbs = tuple(action.verb for action in decision.actions)
        log.info("%s: %s", key, ", ".join(verbs))
        self._ready.pop(key)
        self._busy.add(key)
        self._engine.put("job", key, replace(job, busy=verbs, progress=0))
        generation = self._book.records[key].obj.generation
        ticket = Ticket(key, generation, decision.actions)
        self._last[key] = (decision, 0.0)
        lane = self._lanes.imports if "ImportImage" in verbs else self._lanes.actions
        lane(lambda: self.post(self._executor.run(ticket)))

    def _ended(self, outcome: Outcome, now: float) -> None:
        key = outcome.key
        self._busy.discard(key)
        for seen in outcome.seen:
            self._seen(seen, now)
        if key not in self._book.records:
            return
        if key in self._last:
            self._last[key] = (self._last[key][0], now)
        job: Job = self._engine.get("job", key) or IDLE
        starts = job.starts
        if "StartDomain" in outcome.done:
            starts = (*starts, now)[-KEPT_STARTS:]
        done = {**job.done, **dict.fromkeys(outcome.done, now)}
        job = replace(job, busy=(), done=done, starts=starts, result=outcome.result or job.result)
        if outcome.failed:
            log.error("%s: %s failed: %s", key, outcome.failed, outcome.message)
            self._engine.put("job", key, job)
            self._fail(key, job, outcome.reason, outcome.message, outcome.failed, now, retry=outcome.retry, generation=outcome.generation)
            return
        self._engine.put("job", key, replace(job, error="", reason="", failed="", attempts=0))
        if (decision := self._engine.decisions.get(key)) is not None and decision.actions:
            self._ready[key] = decision

    def _fail(
        self,
        key: Key,
        job: Job,
        reason: str,
        message: str,
        verb: str,
        now: float,
        *,
        retry: bool = True,
        generation: int | None = None,
    ) -> None:
        attempts = job.attempts + 1
        failed = replace(
            job,
            busy=(),
            error=message,
            reason=reason,
            failed=verb,
            attempts=attempts,
            retry=retry,
            retry_at=now + backoff(attempts, self._jitter()),
            generation=self._book.records[key].obj.generation if generation is None else generation,
        )
        self._engine.put("job", key, failed)

    def _progress(self, news: ProgressNews) -> None:
        job: Job | None = self._engine.get("job", news.key)
        if job is not None and job.busy and job.progress != news.percent:
            self._engine.put("job", news.key, replace(job, progress=news.percent))

    # -- writing -------------------------------------------------------------------------------

    def _write(self, now: float) -> None:
        """One commit for all that changed; a remote repository is not written to all the time."""
        if self._pushing or self._syncing or not self._accepted:
            return
        self._note_applied(now)
        agent = self._agent()
        problems = (*self._book.problems, *self._book.held)
        book = self._book
        if not book.unsaved and not book.removed and agent == self._agent_file and problems == self._problems_written:
            return
        urgent = any(not book.is_saved(key) for key in self._ready) or self._problems_written is None
        if now < self._push_at and not urgent:
            return
        keys = frozenset(book.unsaved)
        changes = self._status.files([book.records[key] for key in keys], book.removed)
        for key in book.removed:
            book.saved.pop(key, None)
            if key in book.trash:
                path, data = self._status.trash_file(book.trash[key])
                changes[path] = data
        for key in book.back:
            changes[self._status.trash_path(key)] = None
        changes[FLEET_FILE] = dump(agent)
        listed = [_problem(each) for each in problems]
        changes["problems.yaml"] = problems_file(listed)
        changes["README.md"] = self._readme(problems, agent).encode()
        message = compose(book.events, str(self._attempted.get("revision", "")), self._news_of(agent))
        self._in_flight = (keys, frozenset(book.removed), frozenset(book.back))
        book.unsaved, book.removed, book.back, book.events = set(), set(), set(), []
        self._agent_file, self._problems_written = agent, problems
        self._pushing = True
        self._lanes.git(lambda: self.post(self._git.push(changes, message, keys)))

    def _news_of(self, agent: Mapping[str, Json]) -> str:
        old = self._agent_file.get("applied", {}).get("revision")
        new = agent.get("applied", {}).get("revision")
        return f"applied {str(new)[:12]}" if new and new != old else "agent"

    def _note_applied(self, now: float) -> None:
        revision = self._attempted.get("revision", "")
        idle = not self._ready and not self._busy
        if revision and idle and revision != self._applied.get("revision"):
            self._applied = {"revision": revision, "since": timestamp(now)}

    def _agent(self) -> dict[str, Json]:
        node = next(iter(self._world.nodes), "")
        return {
            "fleet": self._fleet,
            "version": self._version,
            "branch": self._branches.main,
            "path": self._branches.folder or ".",
            "attempted": self._attempted,
            "applied": self._applied,
            "node": {"name": node, "ready": not self._node_error, "message": self._node_error},
        }

    def _readme(self, problems: tuple[Problem, ...], agent: Mapping[str, Json]) -> str:
        documents = self._documents
        for key, record in self._book.records.items():
            if key not in documents or key in self._book.unsaved:
                documents[key] = document(self._catalogue, record)
        whole = [documents[key] for key in sorted(self._book.records)]
        return overview.readme(self._catalogue, whole, list(problems), agent)

    # -- what comes next -----------------------------------------------------------------------

    def _next(self, now: float) -> float:
        due = [now + self._poll]
        if not self._syncing:
            due.append(self._sync_at)
        if not self._reading:
            due.append(self._read_at)
        if self._leading and self._book.unsaved and not self._pushing:
            due.append(self._push_at)
        if (wake := self._engine.next_wake()) is not None:
            due.append(wake)
        if self._ready and not self._pushing and not self._node_error:
            due.append(now + REPEATED)
        return min(due)

    def summary(self) -> Summary:
        """Where things stand after the last pass."""
        return Summary(
            revision=str(self._attempted.get("revision", "")),
            problems=(*self._book.problems, *self._book.held),
            waiting=tuple(sorted(self._waiting)),
            wrong=tuple(sorted(self._wrong)),
            busy=len(self._busy),
            unsaved=len(self._book.unsaved) + len(self._book.removed) + self._pushing,
            synced=self._accepted and not self._syncing and not self._sync_wanted,
            leading=self._leading,
            git_error=self._git_error,
            node_error=self._node_error,
        )

    def records(self) -> Mapping[Key, object]:
        return self._book.records


class _Counter:
    """Numbers that only grow, for several threads."""

    def __init__(self) -> None:
        self._value = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._value += 1
            return self._value


def _problem(each: Problem) -> dict[str, Json]:
    return {
        "file": each.file,
        "line": each.line,
        "resource": each.resource,
        "path": each.path,
        "message": each.message,
    }
