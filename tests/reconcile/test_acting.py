"""From decisions to work under way, one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agent.core.actions import Action, CreateVolume, DefineDomain, ImportImage, StartDomain
from agent.core.facts import Decision, Engine
from agent.core.image_sources import HttpSource
from agent.core.jobs import IDLE, Job, backoff
from agent.core.known import JOB
from agent.core.ledger import Record
from agent.core.model import Key, Manifest, Object
from agent.core.schema import Catalogue
from agent.reconcile.acting import KEPT_STARTS, MOST_OUTDATED, REPEATED, Acting
from agent.reconcile.book import Book
from agent.reconcile.execute import Outcome, Ticket
from agent.reconcile.news import Lanes, NodeLanes, ProgressNews
from agent.reconcile.status_branch import Ledger
from agent.reconcile.world import World

NODE = "node"
NOW = 1000.0
VM, OTHER = (Key("VirtualMachine", "lab", name) for name in ("vm", "other"))
CREATE = CreateVolume(NODE, "pool", "volume", 1)
IMPORT = ImportImage(NODE, "pool", HttpSource("https://host/image"), "prefix")
START = StartDomain(NODE, "uuid")
AGAIN = replace(START, again=True)


class Work:
    """Carries out nothing, with success."""

    def run(self, ticket: Ticket) -> Outcome:
        return outcome(ticket.actions)


@dataclass
class Bench:
    """An `Acting` over two objects, with work that ends when a test says so."""

    acting: Acting
    engine: Engine
    book: Book
    lanes: dict[str, list[Callable[[], None]]]
    news: list[object]

    def decide(self, *actions: Action, key: Key = VM, why: str = "") -> None:
        self.engine.decisions[key] = Decision(actions=actions, why=why)
        self.acting.decided(key, self.engine.decisions[key])

    def begin(self, *actions: Action, now: float = NOW) -> Ticket:
        self.decide(*actions)
        self.acting.act(now)
        return self.acting.busy[VM][1]

    def idle(self) -> None:
        """Nothing is wanted any more."""
        self.decide()

    @property
    def job(self) -> Job:
        return self.engine.get(JOB, VM) or IDLE

    @property
    def started(self) -> list[str]:
        """The lanes that were given something to do."""
        return [name for name, tasks in self.lanes.items() for _ in tasks]


def record(key: Key, uid: str = "") -> Record:
    spec = {"virtualMachineClassName": "host", "blockDeviceRefs": []}
    obj = Object(
        Manifest(key, {}, {}, {"spec": spec}), uid or f"uid of {key.name}", 3, "", "commit:f.yaml"
    )
    return Record(obj, {})


def outcome(actions: tuple[Action, ...], **more: Any) -> Outcome:
    done = [] if "failed" in more else [each.verb for each in actions]
    return Outcome(VM, 3, **{"done": done, **more})


@pytest.fixture
def bench() -> Bench:
    engine = Engine({VM.kind: 0}, {})
    book = Book(engine, Catalogue.load(), World(engine, "default"), "default", ".")
    book.load(Ledger(records={key: record(key) for key in (VM, OTHER)}))
    lanes: dict[str, list[Callable[[], None]]] = {}

    def lane(name: str) -> Callable[[Callable[[], None]], None]:
        return lanes.setdefault(name, []).append

    of = NodeLanes(
        *map(lane, ("reads", "actions", "volumes", "imports", "guests", "networks", "moves"))
    )
    news: list[object] = []
    work: Any = Work()
    every = Lanes(lane("git"), lane("plans"), {NODE: of})
    acting = Acting(
        *(engine, book, work, every, news.append),
        lambda: 0.5,
        lambda source: f"from {source}",
        lambda _node: True,
    )
    return Bench(acting, engine, book, lanes, news)


# -- starting ---------------------------------------------------------------------------------


def test_what_is_decided_is_started_once(bench: Bench) -> None:
    bench.decide(CREATE, START)
    assert bench.acting.startable() == [VM]
    bench.acting.act(NOW)
    assert bench.started == ["actions"]
    uid, ticket = bench.acting.busy[VM]
    assert (uid, ticket.key, ticket.generation) == ("uid of vm", VM, 3)
    assert ticket.actions == (CREATE, START)
    assert bench.job == Job(busy=("CreateVolume", "StartDomain"))
    assert bench.acting.ready == {}
    bench.decide(START)
    assert bench.acting.startable() == []
    bench.acting.act(NOW)
    assert bench.started == ["actions"]
    (task,) = bench.lanes["actions"]
    task()
    (ended,) = bench.news
    assert isinstance(ended, Outcome)
    assert ended.done == ["CreateVolume", "StartDomain"]


@pytest.mark.parametrize(("why", "said"), [("for you", "for you"), ("", "from commit:f.yaml")])
def test_the_log_says_what_begins_and_why(
    bench: Bench, caplog: pytest.LogCaptureFixture, why: str, said: str
) -> None:
    caplog.set_level("INFO", "gitvirt")
    bench.decide(CREATE, START, why=why)
    bench.acting.act(NOW)
    assert caplog.messages == [f"VirtualMachine lab/vm: CreateVolume, StartDomain: {said}"]


def test_a_download_has_a_lane_of_its_own_and_begins_at_nothing(bench: Bench) -> None:
    bench.engine.put(JOB, VM, Job(progress=90, trouble="slow"))
    bench.begin(IMPORT)
    assert bench.started == ["imports"]
    assert bench.job == Job(busy=("ImportImage",))


def test_what_waits_for_a_pool_takes_no_worker_from_the_rest(bench: Bench) -> None:
    bench.decide(CREATE)
    bench.decide(CREATE, START, key=OTHER)
    bench.acting.act(NOW)
    assert (len(bench.lanes["volumes"]), len(bench.lanes["actions"])) == (1, 1)
    (made,) = bench.lanes["volumes"]
    made()
    (ended,) = bench.news
    assert isinstance(ended, Outcome)
    assert (ended.key, ended.done) == (VM, ["CreateVolume"])


def test_what_cannot_begin_holds_up_nothing_else(bench: Bench) -> None:
    bench.engine.put(JOB, VM, Job(busy=("CreateVolume",)))
    bench.decide(CREATE)
    bench.decide(CREATE, key=OTHER)
    bench.acting.act(NOW)
    assert set(bench.acting.busy) == {OTHER}
    assert set(bench.acting.ready) == {VM}


@pytest.mark.parametrize("saved", ["", "another one"])
def test_what_the_status_branch_does_not_know_waits(bench: Bench, saved: str) -> None:
    known = {OTHER: "uid of other", **({VM: saved} if saved else {})}
    bench.book.outbox.load(known, ())
    bench.decide(CREATE)
    bench.decide(CREATE, key=OTHER)
    bench.acting.act(NOW)
    assert set(bench.acting.busy) == {OTHER}


@pytest.mark.parametrize("decision", [None, Decision()])
def test_what_is_not_wanted_any_more_is_not_begun(bench: Bench, decision: Decision | None) -> None:
    bench.decide(CREATE)
    bench.acting.decided(VM, decision)
    bench.acting.act(NOW)
    assert bench.started == []
    bench.acting.decided(OTHER, decision)


# -- ends -------------------------------------------------------------------------------------


FAILED = Job(
    error="no", reason="Bad", failed="StartDomain", attempts=2, generation=3, retry_at=NOW - 1
)


def test_after_a_success_nothing_is_held_against_it(bench: Bench) -> None:
    known = replace(FAILED, done={"DefineDomain": 1.0}, result={"a": 1}, outdated=2)
    bench.engine.put(JOB, VM, known)
    ticket = bench.begin(CREATE, START)
    bench.idle()
    bench.acting.ended(outcome(ticket.actions), NOW + 1)
    assert bench.job == Job(
        done={"DefineDomain": 1.0, "CreateVolume": NOW + 1, "StartDomain": NOW + 1},
        result={"a": 1},
        generation=3,
        retry_at=NOW - 1,
    )
    assert bench.acting.busy == {}
    assert bench.acting.ready == {}


def test_what_a_job_found_out_is_known_until_another_finds_more(bench: Bench) -> None:
    ticket = bench.begin(IMPORT)
    bench.acting.ended(outcome(ticket.actions, result={"digest": "x"}), NOW)
    assert bench.job.result == {"digest": "x"}


@pytest.mark.parametrize("retry", [True, False])
def test_a_failure_waits_longer_each_time(bench: Bench, retry: bool) -> None:
    bench.engine.put(JOB, VM, Job(attempts=1, outdated=3))
    ticket = bench.begin(CREATE, START)
    ended = outcome(
        ticket.actions,
        done=["CreateVolume"],
        failed="StartDomain",
        reason="Bad",
        message="no",
        retry=retry,
    )
    bench.acting.ended(replace(ended, generation=2), NOW)
    assert bench.job == Job(
        error="no",
        reason="Bad",
        failed="StartDomain",
        attempts=2,
        retry=retry,
        retry_at=NOW + backoff(2, 0.5),
        generation=2,
        done={"CreateVolume": NOW},
    )
    assert bench.acting.ready == {}  # until its decision says so again


def test_what_is_still_wanted_is_begun_again(bench: Bench) -> None:
    ticket = bench.begin(CREATE)
    bench.decide(START)
    bench.acting.ended(outcome(ticket.actions), NOW)
    assert bench.acting.ready[VM].actions == (START,)


@pytest.mark.parametrize("here", [None, "another one"])
def test_the_end_of_what_was_done_for_a_namesake_says_nothing(
    bench: Bench, here: str | None
) -> None:
    ticket = bench.begin(CREATE)
    del bench.book.records[VM]
    if here:
        bench.book.records[VM] = record(VM, here)
    bench.acting.ended(outcome(ticket.actions), NOW)
    assert bench.job is IDLE
    assert bench.acting.busy == {}


@pytest.mark.parametrize(
    ("actions", "done", "counts"),
    [
        ((CREATE, AGAIN), ["CreateVolume", "StartDomain"], True),
        ((CREATE, AGAIN), ["CreateVolume"], False),
        ((CREATE, START), ["CreateVolume", "StartDomain"], False),
        ((CREATE,), ["CreateVolume"], False),
    ],
)
def test_starts_that_follow_an_end_nobody_asked_for_are_counted(
    bench: Bench, actions: tuple[Action, ...], done: list[str], counts: bool
) -> None:
    earlier = tuple(map(float, range(KEPT_STARTS)))
    bench.engine.put(JOB, VM, Job(starts=earlier))
    ticket = bench.begin(*actions)
    bench.acting.ended(outcome(ticket.actions, done=done), NOW)
    assert bench.job.starts == ((*earlier[1:], NOW) if counts else earlier)
    assert KEPT_STARTS == 10


@pytest.mark.parametrize("before", [0, MOST_OUTDATED - 1, MOST_OUTDATED])
def test_what_was_outdated_is_decided_anew_at_once_some_times(bench: Bench, before: int) -> None:
    bench.engine.put(JOB, VM, replace(FAILED, outdated=before))
    ticket = bench.begin(START)
    ended = outcome(ticket.actions, failed="StartDomain", message="changed", outdated=True)
    bench.acting.ended(ended, NOW)
    again = before < MOST_OUTDATED
    assert bench.job.outdated == (before + 1 if again else 0)
    assert bench.job.attempts == (2 if again else 3)
    assert (VM in bench.acting.ready) is again
    assert MOST_OUTDATED == 5


# -- what achieves nothing --------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, REPEATED, REPEATED + 0.1])
def test_what_succeeded_a_moment_ago_is_not_done_for_ever(bench: Bench, after: float) -> None:
    ticket = bench.begin(CREATE, START)
    bench.acting.ended(outcome(ticket.actions), NOW)
    bench.acting.act(NOW + after)
    repeated = after <= REPEATED
    assert bench.started == ["actions"] * (1 if repeated else 2)
    assert (VM in bench.acting.busy) is not repeated
    if repeated:
        assert bench.job == replace(
            bench.job,
            busy=(),
            failed="CreateVolume",
            reason="NotConverging",
            error="CreateVolume, StartDomain succeeded and changed nothing: something on the host undoes it.",
            attempts=1,
            retry=True,
            retry_at=NOW + after + backoff(1, 0.5),
            generation=3,
        )
        bench.acting.act(NOW + after)  # what failed is not held a second time
        assert bench.started == ["actions"] * 2
    assert REPEATED == 1.0


def test_what_differs_only_in_what_it_relies_on_is_the_same(bench: Bench) -> None:
    define = DefineDomain(NODE, "uuid", "before", "<domain/>")
    ticket = bench.begin(define)
    bench.idle()
    bench.acting.ended(outcome(ticket.actions), NOW)
    bench.decide(replace(define, over="after"))
    bench.acting.act(NOW)
    assert bench.job.reason == "NotConverging"


def test_something_else_may_follow_at_once(bench: Bench) -> None:
    ticket = bench.begin(CREATE)
    bench.decide(START)
    bench.acting.ended(outcome(ticket.actions), NOW)
    bench.acting.act(NOW)
    assert bench.started == ["actions", "volumes"]


def test_another_object_of_the_name_may_do_the_same(bench: Bench) -> None:
    ticket = bench.begin(CREATE)
    bench.acting.ended(outcome(ticket.actions), NOW)
    bench.acting.decided(VM, None)
    bench.begin(CREATE)
    assert bench.started == ["volumes"] * 2


def test_a_failure_is_no_success_that_is_repeated(bench: Bench) -> None:
    ticket = bench.begin(CREATE)
    bench.acting.ended(outcome(ticket.actions), NOW - 0.5)
    bench.engine.put(JOB, VM, None)
    bench.acting._done.clear()
    ticket = bench.begin(START)
    bench.acting.ended(outcome(ticket.actions, failed="StartDomain"), NOW)
    bench.begin(START)
    assert bench.started == ["actions", "actions", "volumes"]


# -- downloads --------------------------------------------------------------------------------


def test_the_progress_of_what_is_under_way_is_told(bench: Bench) -> None:
    bench.acting.progress(ProgressNews(VM, 50))
    assert bench.job is IDLE
    bench.begin(IMPORT)
    bench.acting.progress(ProgressNews(VM, 50, "slow"))
    assert (bench.job.progress, bench.job.trouble) == (50, "slow")


@pytest.mark.parametrize(
    ("wanted", "called_off"),
    [
        ((IMPORT,), False),
        ((CREATE, replace(IMPORT, source=HttpSource("https://user:word@host/image"))), False),
        ((replace(IMPORT, source=HttpSource("https://host/other")),), True),
        ((CREATE,), True),
        ((), True),
        (None, True),
    ],
)
def test_a_download_that_nothing_needs_is_called_off(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    wanted: tuple[Action, ...] | None,
    called_off: bool,
) -> None:
    caplog.set_level("INFO", "gitvirt")
    ticket = bench.begin(CREATE, IMPORT)
    decision = None if wanted is None else Decision(actions=wanted)
    caplog.clear()
    for _ in range(2):
        bench.acting.decided(VM, decision)
        assert ticket.called_off.is_set() is called_off
        assert len(caplog.messages) == called_off  # and said once


def test_nothing_else_is_called_off(bench: Bench) -> None:
    ticket = bench.begin(CREATE)
    bench.idle()
    assert not ticket.called_off.is_set()


def test_what_was_called_off_has_not_failed(bench: Bench) -> None:
    bench.engine.put(JOB, VM, FAILED)
    ticket = bench.begin(IMPORT)
    bench.decide(CREATE)
    bench.acting.ended(outcome(ticket.actions, failed="ImportImage", message="ended"), NOW)
    assert (bench.job.failed, bench.job.attempts) == ("", 0)
    bench.decide(IMPORT)
    bench.acting.act(NOW)  # nor has it succeeded
    assert bench.started == ["imports"] * 2
