"""Two agents on one repository and one host: one acts, the other stands by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.ledger import load
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.beats import LEASE, STANDBY
from agent.reconcile.lease import BEAT, MARGIN, TERM
from tests.memory_repository import MemoryRepository
from tests.product.faults import WatchedHost
from tests.rig import MAIN, OPERATIONS, START, STATUS, Rig, disk, machine, operation


class Pair:
    """Two agents, one clock. An agent that is `hung` does nothing until it is let go."""

    def __init__(self, folder: Path, skew: float = 0.0) -> None:
        self.now = START
        self.host = WatchedHost()
        self.repo = MemoryRepository(lambda: self.now)
        self.first = self._rig(folder / "first", "first", 0.0)
        self.second = self._rig(folder / "second", "second", skew)
        self.hung: list[Rig] = []
        self._listen()

    @property
    def both(self) -> tuple[Rig, Rig]:
        return self.first, self.second

    def _rig(self, folder: Path, instance: str, skew: float) -> Rig:
        folder.mkdir()
        rig = Rig(folder, host=self.host, repository=self.repo, skew=skew)
        rig.start(instance)
        return rig

    def restart(self, rig: Rig, instance: str) -> None:
        rig.start(instance)
        self._listen()

    def _listen(self) -> None:
        """Each rig's start has silenced the other one."""
        self.host._subscribers[:] = [rig.agent.reconciler.post for rig in self.both]
        self.host.clock = lambda: self.now

    def go(self, seconds: float = 0.0, every: float = 10.0, passes: int = 6) -> None:
        """Let everybody work, now and while time goes on."""
        until = self.now + seconds
        while True:
            for rig in self.both:
                rig.now = self.now
                if rig not in self.hung:
                    rig.agent.reconciler.look_at_git()
            for _ in range(passes):
                for rig in self.both:
                    if rig not in self.hung:
                        rig.step()
            if self.now >= until:
                return
            self.now += every

    def leaders(self) -> list[str]:
        names = zip(("first", "second"), self.both, strict=True)
        return [name for name, rig in names if rig.agent.reconciler.summary().leading]

    def leader(self) -> Rig:
        return next(rig for rig in self.both if rig.agent.reconciler.summary().leading)

    def push(self, files: dict[str, Any], ref: str = MAIN) -> None:
        self.first.push(files, ref)

    def starts(self) -> int:
        return sum(turn.on for turn in self.host.turns)

    def phase(self) -> str:
        found: str = self.first.vm()["status"]["phase"]
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def acting(pair: Pair) -> Pair:
    """The first agent acts, and a VM runs."""
    pair.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    pair.go(BEAT)
    assert pair.leaders() == ["first"]
    assert pair.phase() == "Running"
    return pair


def test_one_acts_and_the_other_stands_by(acting: Pair) -> None:
    acting.go(2 * 3600, every=30)
    assert acting.leaders() == ["first"]
    assert acting.starts() == 1


def test_the_other_takes_over_after_three_missed_beats(acting: Pair) -> None:
    acting.hung = [acting.first]
    died = acting.now
    acting.host.crash(acting.first.uuid())
    while acting.now < died + 400 and acting.leaders() != ["second"]:
        acting.go(10)
    assert TERM - BEAT <= acting.now - died <= TERM + 2 * BEAT
    acting.go(60)
    assert acting.starts() == 2
    assert acting.phase() == "Running"


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_wrong_clock_makes_nobody_act_too_early_or_too_late(tmp_path: Path, skew: float) -> None:
    pair = Pair(tmp_path, skew)
    pair.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    pair.go(600)
    assert pair.leaders() == ["first"]
    pair.hung = [pair.first]
    pair.go(TERM + 2 * BEAT)
    assert pair.second.agent.reconciler.summary().leading
    pair.hung = []
    pair.go(600)
    assert pair.leaders() == ["second"]
    pair.hung = [pair.second]
    pair.go(TERM + 2 * BEAT)
    pair.hung = []
    pair.go(600)
    assert pair.leaders() == ["first"]
    assert pair.starts() == 1


def test_who_comes_back_after_a_hang_notices_before_it_acts(acting: Pair) -> None:
    """Actions that it had begun, decisions that it had made, and a write that it had composed."""
    first = acting.first
    acting.push({"vm2.yaml": [disk("two"), machine("two", disks=("two",))]})
    first.agent.reconciler.look_at_git()
    held: list[Callable[[], None]] = []
    acts = first.agent.reconciler._acting
    lanes = {
        node: replace(each, actions=held.append, volumes=held.append)
        for node, each in acts._lanes.of.items()
    }
    acts._lanes = replace(acts._lanes, of=lanes)
    for _ in range(8):
        first.step()
    assert len(held) == 1  # the volume is about to be made
    acting.hung = [first]
    acting.push({"vm2.yaml": None})  # nobody wants it any more
    acting.go(TERM + 2 * BEAT)
    assert "default_disk_default_two" not in str(acting.host.pools)
    assert acting.second.agent.reconciler.summary().leading
    tip, verbs = acting.repo.refs[STATUS], len(acting.host.verbs)
    assert first.agent.git.push({"README.md": b"old"}, "old").tip is None
    first.now = acting.now
    first.agent.reconciler.run()
    for task in held:
        task()
    assert len(acting.host.verbs) == verbs
    assert acting.repo.refs[STATUS] == tip
    acting.hung = []
    acting.go(60)
    assert acting.leaders() == ["second"]
    assert "default_disk_default_two" not in str(acting.host.pools)


def test_it_stops_before_the_other_may_begin(acting: Pair) -> None:
    """Even if it cannot know that somebody took over."""
    first = acting.first
    beaten = acting.now
    allowed = [beaten + at for at in range(0, 400, 5) if _may_act(first, beaten + at)]
    assert max(allowed) < beaten + TERM - MARGIN + 1


def _may_act(rig: Rig, at: float) -> bool:
    rig.now = at
    return rig.agent.git.may_act()


class Away(MemoryRepository):
    """A repository that some of its users cannot reach."""

    reachable = True

    def fetch(self) -> Any:
        if not self.reachable:
            raise RepositoryError("Unreachable", "the repository is away")
        return super().fetch()


def test_without_another_agent_machines_do_not_wait_for_git(tmp_path: Path) -> None:
    repository = Away(lambda: rig.now)
    rig = Rig(tmp_path, repository=repository)
    rig.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    rig.settle()
    repository.reachable = False
    for number in range(40):
        rig.now += 30
        rig.step()
        if number % 10 == 9:
            rig.host.crash(rig.uuid())
            for _ in range(5):
                rig.now += 10
                rig.step()
            assert rig.running()
    repository.reachable = True
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"


def test_with_another_agent_who_cannot_reach_git_stops(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]})
    pair.go(120)
    assert pair.leaders() == ["first"]
    away = Away(lambda: pair.now)
    away.reachable = False
    pair.first.agent.git._repository = away
    pair.go(TERM)
    assert "first" not in pair.leaders()
    pair.go(2 * BEAT)
    assert pair.leaders() == ["second"]
    pair.hung = [pair.second]
    pair.host.crash(pair.first.uuid())
    pair.go(600)
    assert pair.starts() == 1
    assert not pair.first.running()


def test_one_that_stood_by_and_is_long_gone_keeps_nobody_from_acting(acting: Pair) -> None:
    acting.hung = [acting.second]
    acting.go(TERM + BEAT)
    away = Away(lambda: acting.now)
    away.reachable = False
    acting.first.agent.git._repository = away
    acting.go(2 * TERM)
    acting.host.crash(acting.first.uuid())
    acting.go(60)
    assert acting.first.running()


def test_a_lease_that_was_given_up_is_taken_at_once(acting: Pair) -> None:
    acting.first.agent.close()
    assert not acting.first.agent.git.may_act()
    acting.hung = [acting.first]
    acting.go(0)
    assert acting.second.agent.reconciler.summary().leading
    acting.second.agent.close()
    acting.restart(acting.first, "third")
    acting.hung = [acting.second]
    acting.go(0)
    assert acting.first.agent.reconciler.summary().leading


def test_who_stands_by_gives_nothing_up(acting: Pair) -> None:
    tip = acting.repo.refs[LEASE]
    acting.second.agent.close()
    assert acting.repo.refs[LEASE] == tip


def test_nothing_is_begun_while_the_agent_ends(acting: Pair) -> None:
    acting.host.crash(acting.first.uuid())
    acting.first.agent._stopping.set()
    verbs = len(acting.host.verbs)
    acting.hung = [acting.second]
    acting.go(60)
    assert len(acting.host.verbs) == verbs


def test_the_same_agent_goes_on_at_once_after_a_kill(acting: Pair) -> None:
    acting.restart(acting.first, "first")
    acting.go(0)
    assert acting.leaders() == ["first"]


def test_beats_are_not_too_many(acting: Pair) -> None:
    seen: dict[str, set[str]] = {LEASE: set(), STANDBY: set()}
    for _ in range(60):
        acting.go(10)
        for ref, tips in seen.items():
            tips.add(acting.repo.refs[ref])
    assert [len(tips) for tips in seen.values()] == [11, 11]  # one a minute each, in ten minutes


def test_another_fleets_agent_takes_no_lease(acting: Pair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Rig(tmp_path / "other", repository=acting.repo, fleet="other")
    tip = acting.repo.refs[LEASE]
    other.now = acting.now + 10 * TERM
    for _ in range(20):
        other.agent.reconciler.look_at_git()
        other.step()
        other.now += 60
    assert "fleet" in other.agent.reconciler.summary().git_error
    assert acting.repo.refs[LEASE] == tip


@pytest.mark.parametrize("ends", ["nobody", "in-turns"])
def test_a_hundred_commits(tmp_path: Path, ends: str) -> None:
    """Both started at once; whoever acts may hang, or be replaced, at any time."""
    pair = Pair(tmp_path)
    fleet = {f"d{number}.yaml": disk(f"d{number}") for number in range(4)}
    pair.push({**fleet, "vm.yaml": [disk(), machine()]})
    uids: dict[str, str] = {}
    restarts = 0
    led = set()
    for number in range(100):
        _commit(pair, number)
        if number % 10 == 5:
            name = f"restart-{number}"
            pair.push({f"{name}.yaml": operation(name, "vm", "Restart", force=True)}, OPERATIONS)
            restarts += 1
        if ends == "in-turns" and number % 12 == 6:
            pair.hung = [] if pair.hung else [pair.leader()]
            pair.go(TERM + 2 * BEAT, every=30)
            led |= set(pair.leaders())
        pair.go(7, every=7, passes=3)
        _remember(pair, uids)
    assert led == ({"first", "second"} if ends == "in-turns" else set())
    pair.hung = []
    pair.go(TERM + 600, every=30)
    assert len(pair.leaders()) == 1
    assert pair.phase() == "Running"
    assert pair.starts() == 1 + restarts
    for targets in pair.host.targets.values():
        assert len(targets) == 1
    ended = [
        load(data)
        for path, data in pair.first.documents().items()
        if "/virtualmachineoperations/" in path
    ]
    assert {each["status"]["phase"] for each in ended if each} == {"Completed"}
    made = [what for verb, what in pair.host.verbs if verb == "create_volume"]
    assert len(made) == len(set(made))
    assert len(uids) == len(set(uids.values()))


def _commit(pair: Pair, number: int) -> None:
    labels = {"number": str(number)}
    vm = machine(metadata={"labels": labels}, terminationGracePeriodSeconds=60 + number)
    extra = {f"extra-{number // 10}.yaml": disk(f"extra-{number // 10}")}
    pair.push({"vm.yaml": [disk(), vm], **extra})


def _remember(pair: Pair, uids: dict[str, str]) -> None:
    """An object's uid never changes."""
    for path, data in pair.first.documents().items():
        if "/virtualdisks/" in path or path.endswith("/vm.yaml"):
            value = load(data)
            assert value is not None
            assert uids.setdefault(path, value["metadata"]["uid"]) == value["metadata"]["uid"]
