"""A clone, and the agent dies, or something fails, at each of its effects in turn: the end is always the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from dulwich.objects import ShaFile

from agent.core.host import GuestInfo, HostError
from agent.core.proposals import CLONES
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.lease import BEAT, TERM
from tests.memory_host import Killed
from tests.product.faults import Effects, FragileRepository, WatchedHost
from tests.product.test_clone import (
    BRANCH,
    ask,
    files,
    going_on,
    merge,
    outcome,
    snapshots,
    volumes,
)
from tests.product.test_two_agents import Pair
from tests.rig import STATUS, Rig, Unplanned

Fault = Callable[[int, str, str], None]


class Counting(FragileRepository):
    """Counts how often a branch with a clone was made."""

    made = 0

    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        before = self.refs.get(ref)
        try:
            super()._publish(ref, expected, commit, objects)
        finally:
            if ref.startswith(CLONES) and before is None and ref in self.refs:
                self.made += 1


def nothing(_number: int, _what: str, _phase: str) -> None:
    pass


def tell(folder: Path, fault: Fault, *, heir: str = "agent") -> list[str]:
    """Clone a machine that runs and merge the branch, with a fault; whenever the agent dies, `heir` takes over. What was done."""
    host = WatchedHost()
    rig = Unplanned(folder, host=host)
    repository = Counting(lambda: rig.now)
    rig.repo = repository
    rig.start()
    going_on(rig)
    turned = len(host.turns)
    repository.effects = host.on_effect = effects = Effects(fault)
    ask(rig)
    until(rig, heir)
    assert outcome(rig) == ("InProgress", "CloneInProgress")
    merge(rig)
    until(rig, heir)
    assert outcome(rig) == ("Completed", "OperationCompleted")
    assert repository.made == 1
    assert [turn.on for turn in host.turns[turned:]] == [True]  # the clone's start
    assert rig.running()
    assert rig.running("vm-2")
    rig.now += 1000
    until(rig, heir)
    assert snapshots(rig) == []
    assert len(volumes(rig)) == 4
    end = len(effects.done), repository.refs[STATUS]
    rig.now += 1000
    rig.settle()
    assert (len(effects.done), repository.refs[STATUS]) == end
    return effects.done


def until(rig: Rig, heir: str) -> None:
    """Until nothing is left to do."""
    while True:
        try:
            rig.settle()
            return
        except Killed:
            rig.start(heir)


def test_the_agent_is_killed_after_each_effect(tmp_path: Path) -> None:
    done = tell(tmp_path / "plain", nothing)
    assert Counter(done)["propose"] == 1
    assert {"begin_backup", "create_volume", "copy_volume", "delete_volume"} <= {*done}
    for number in range(1, len(done) + 1):

        def kill(at: int, _what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, "after"):
                raise Killed

        tell(tmp_path / str(number), kill, heir="another" if number % 2 else "agent")


def test_an_effect_fails_once(tmp_path: Path) -> None:
    done = tell(tmp_path / "plain", nothing)
    for number in range(1, len(done) + 1):
        phase = "before" if number % 2 else "after"

        def fail(at: int, what: str, when: str, number: int = number, phase: str = phase) -> None:
            if (at, when) == (number, "after" if what == "propose" else phase):
                if what in ("push", "propose"):
                    raise RepositoryError("Unreachable", "the repository is away")
                if what != "begin_backup":  # a moment that is over is not made up for
                    raise HostError("HypervisorError", f"{what} failed")

        tell(tmp_path / str(number), fail)


def test_one_of_two_agents_writes_the_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one hangs with the branch composed; the second one takes over, and writes it."""
    pair = Pair(tmp_path)
    first, publish = pair.first, pair.repo._publish
    written: list[str] = []

    def slow(ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]) -> None:
        if ref == BRANCH and not pair.hung:
            pair.hung = [first]
            pair.go(TERM + 2 * BEAT)
            assert ref in pair.repo.refs
        publish(ref, expected, commit, objects)
        if ref == BRANCH:
            written.append(commit)

    monkeypatch.setattr(pair.repo, "_publish", slow)
    first.push(files())
    pair.go(BEAT)
    pair.host.guests[first.uuid()] = GuestInfo()
    ask(first)
    pair.go(BEAT)
    pair.hung = []
    pair.go(2 * BEAT)
    assert pair.leaders() == ["second"]
    assert written == [pair.repo.refs[BRANCH]]
    assert outcome(first) == ("InProgress", "CloneInProgress")
    assert first.vmop("copy")["status"]["branch"]["commit"] == written[0]
