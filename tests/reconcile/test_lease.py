"""Who acts: one agent's view of the lease, with a clock that the test moves."""

from __future__ import annotations

import json

import pytest

from agent.reconcile.beats import BEAT_FILE, LEASE, STANDBY, Beat, lease_ref, read, standby_ref
from agent.reconcile.lease import BEAT, MARGIN, TERM, Lease, SharedBranch
from tests.memory_repository import MemoryRepository


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repository(clock: Clock) -> MemoryRepository:
    return MemoryRepository(clock)


def beat(instance: str, fleet: str | None = "default", operations: str = "") -> Beat:
    return Beat(instance, fleet, "refs/heads/status", operations or f"refs/heads/ops-{fleet}")


class Agent:
    def __init__(self, repository: MemoryRepository, clock: Clock, me: Beat) -> None:
        self._repository = repository
        self.lease = Lease(repository, me, clock)

    def keep(self) -> str:
        return self.lease.keep(self._repository.fetch(), 0.0, "revision")


def test_agents_of_all_versions_agree_on_the_times() -> None:
    assert (BEAT, TERM, MARGIN) == (60.0, 180.0, 30.0)


def test_a_beat_has_no_history(repository: MemoryRepository, clock: Clock) -> None:
    first = Agent(repository, clock, beat("first"))
    first.keep()
    clock.now += BEAT
    first.keep()
    _, commit = repository.objects[repository.refs[LEASE]]
    assert b"\nparent " not in commit


def test_who_was_alone_and_was_overtaken_stops_although_the_repository_goes_away(
    repository: MemoryRepository, clock: Clock
) -> None:
    first, second = (Agent(repository, clock, beat(name)) for name in ("first", "second"))
    first.keep()
    second.keep()
    del repository.refs[STANDBY]
    first.keep()  # nobody else is there
    clock.now += TERM
    assert second.keep() == ""
    assert first.keep() == "second"
    first.lease.failed()
    assert not first.lease.may_act()
    assert first.lease.renew_in() == BEAT


def test_who_is_alone_acts(repository: MemoryRepository, clock: Clock) -> None:
    first = Agent(repository, clock, beat("first"))
    assert not first.lease.may_act()
    assert first.keep() == ""
    assert first.lease.may_act()
    assert read(repository, repository.refs[LEASE]) == beat("first")


@pytest.mark.parametrize(
    ("still", "acts"), [(0.0, False), (TERM - 1, False), (TERM, True), (TERM + 1, True)]
)
def test_another_one_takes_over_after_three_missed_beats(
    repository: MemoryRepository, clock: Clock, still: float, acts: bool
) -> None:
    Agent(repository, clock, beat("first")).keep()
    second = Agent(repository, clock, beat("second"))
    assert second.keep() == "first"
    clock.now += still
    assert second.keep() == ("" if acts else "first")
    assert second.lease.may_act() is acts


@pytest.mark.parametrize(
    ("later", "moves"), [(0.0, False), (BEAT - 1, False), (BEAT, True), (BEAT + 1, True)]
)
def test_a_lease_is_renewed_with_each_beat(
    repository: MemoryRepository, clock: Clock, later: float, moves: bool
) -> None:
    first = Agent(repository, clock, beat("first"))
    first.keep()
    first.keep()
    tip = repository.refs[LEASE]
    clock.now += later
    assert first.lease.renew_in() == max(0.0, BEAT - later)
    assert first.keep() == ""
    assert (repository.refs[LEASE] != tip) is moves


@pytest.mark.parametrize(
    ("later", "acts"), [(TERM - MARGIN - 1, True), (TERM - MARGIN, False), (TERM, False)]
)
def test_who_cannot_renew_stops_before_anybody_may_take_over(
    repository: MemoryRepository, clock: Clock, later: float, acts: bool
) -> None:
    first = Agent(repository, clock, beat("first"))
    first.keep()
    Agent(repository, clock, beat("second")).keep()
    first.keep()
    clock.now += later
    first.lease.failed()
    assert first.lease.may_act() is acts


@pytest.mark.parametrize(("since", "acts"), [(BEAT - 1, True), (BEAT, False)])
def test_alone_it_goes_on_while_the_repository_is_away(
    repository: MemoryRepository, clock: Clock, since: float, acts: bool
) -> None:
    first = Agent(repository, clock, beat("first"))
    first.keep()
    clock.now += 10 * TERM
    assert not first.lease.may_act()
    first.lease.failed()
    clock.now += since
    assert first.lease.may_act() is acts


@pytest.mark.parametrize(("still", "alone"), [(TERM - 1, False), (TERM, True)])
def test_who_stood_by_and_is_gone_is_nobody(
    repository: MemoryRepository, clock: Clock, still: float, alone: bool
) -> None:
    first = Agent(repository, clock, beat("first"))
    first.keep()
    Agent(repository, clock, beat("second")).keep()
    first.keep()
    clock.now += still
    first.keep()
    clock.now += 10 * TERM
    first.lease.failed()
    assert first.lease.may_act() is alone


def test_a_faster_one_has_it(repository: MemoryRepository, clock: Clock) -> None:
    first, second = (Agent(repository, clock, beat(name)) for name in ("first", "second"))
    refs = repository.fetch()
    assert first.keep() == ""
    assert second.lease.keep(refs, 0.0, "revision") == "another agent that was faster"
    assert not second.lease.may_act()
    assert second.lease.renew_in() == BEAT


def test_a_lease_that_was_given_up_is_free_at_once(
    repository: MemoryRepository, clock: Clock
) -> None:
    first, second = (Agent(repository, clock, beat(name)) for name in ("first", "second"))
    first.keep()
    assert second.keep() == "first"
    second.lease.release()  # it has nothing to give up
    assert read(repository, repository.refs[LEASE]).instance == "first"
    first.lease.release()
    assert not first.lease.may_act()
    given_up = json.loads(repository.read_path(repository.refs[LEASE], BEAT_FILE) or b"")
    assert (given_up["instance"], given_up["time"]) == ("", 0.0)
    assert second.keep() == ""
    first.lease.release()
    assert read(repository, repository.refs[LEASE]).instance == "second"


def test_what_is_somebody_elses_by_now_is_not_given_up(
    repository: MemoryRepository, clock: Clock
) -> None:
    first, second = (Agent(repository, clock, beat(name)) for name in ("first", "second"))
    first.keep()
    second.keep()
    clock.now += TERM
    second.keep()
    first.lease.release()
    assert read(repository, repository.refs[LEASE]).instance == "second"


def test_who_stands_by_says_so_once_a_beat(repository: MemoryRepository, clock: Clock) -> None:
    Agent(repository, clock, beat("first")).keep()
    second = Agent(repository, clock, beat("second"))
    second.keep()
    tip = repository.refs[STANDBY]
    assert read(repository, tip).instance == "second"
    clock.now += BEAT - 1
    second.keep()
    assert repository.refs[STANDBY] == tip
    clock.now += 1
    second.keep()
    assert repository.refs[STANDBY] != tip


def test_another_fleet_has_a_lease_of_its_own(repository: MemoryRepository, clock: Clock) -> None:
    first = Agent(repository, clock, beat("first"))
    other = Agent(repository, clock, beat("other", "other"))
    assert (first.keep(), other.keep(), first.keep()) == ("", "", "")
    assert first.lease.may_act()
    assert other.lease.may_act()
    assert other.lease.refs() == (lease_ref("other"), standby_ref("other"), STANDBY)
    assert first.lease.branches() >= {"refs/heads/ops-other", "refs/heads/status"}


def test_everybody_stands_by_for_an_agent_that_knows_of_no_fleets(
    repository: MemoryRepository, clock: Clock
) -> None:
    old = Beat("old")
    repository.commit(LEASE, None, {"agent.json": old.data()}, "alive", parentless=True)
    other = Agent(repository, clock, beat("other", "other"))
    assert other.keep() == "old, of a version without fleets,"
    assert not other.lease.may_act()
    assert read(repository, repository.refs[STANDBY]).instance == "other"
    assert Agent(repository, clock, beat("first")).keep() == "old"


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_two_fleets_that_share_a_branch_who_came_first_goes_on(
    repository: MemoryRepository, clock: Clock, names: tuple[str, str]
) -> None:
    first, second = (Agent(repository, clock, beat(name, name, "refs/heads/ops")) for name in names)
    assert first.keep() == ""
    with pytest.raises(SharedBranch):
        second.keep()
    assert not second.lease.may_act()
    assert first.keep() == ""


def test_of_two_fleets_that_came_to_share_a_branch_one_goes_on(
    repository: MemoryRepository, clock: Clock
) -> None:
    agents = [Agent(repository, clock, beat(name, name, "refs/heads/ops")) for name in ("a", "b")]
    refs = repository.fetch()
    for each in agents:
        assert each.lease.keep(refs, 0.0, "revision") == ""
    assert agents[0].keep() == ""
    with pytest.raises(SharedBranch):
        agents[1].keep()
    assert [each.lease.may_act() for each in agents] == [True, False]


def test_one_of_the_same_fleet_with_another_status_branch_is_told_apart(
    repository: MemoryRepository, clock: Clock
) -> None:
    Agent(repository, clock, Beat("first", "default", "refs/heads/other", "refs/heads/ops")).keep()
    told = Agent(repository, clock, beat("second")).keep()
    assert told == "first, of the same fleet, with the status in refs/heads/other,"
