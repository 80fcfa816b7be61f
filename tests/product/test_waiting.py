"""Passes wait for what is under way and for what is due: none asks for another one at once while nothing happens,
and none forgets what it has put off.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.core.ledger import TRASH
from agent.core.model import Key
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.repository import FETCH_AGAIN
from agent.reconcile.writing import DETAILS_EVERY
from tests.rig import OPERATIONS, STATUS, Rig, disk, machine, manifest, operation

POLL = 31
"""Seconds after which Git is looked at again without news."""


def waits(rig: Rig) -> None:
    """Whatever has just happened is taken in by a few passes, and then they wait."""
    for _ in range(3):
        rig.agent.reconciler.run()
    assert rig.agent.reconciler.run() > 0


def at_rest(rig: Rig) -> bool:
    """True if nothing is under way but a look at Git."""
    found = rig.agent.reconciler.summary()
    busy = found.waiting or found.busy or found.unsaved or rig.agent.reconciler.planning
    return not busy and len(rig._tasks) <= 1


def work(rig: Rig) -> int:
    """Carry out one task after the other, with news of Git before each, until all there is to do
    for a while are looks at Git; how many there were before.
    """
    looks = 0
    for done in range(200):
        rig.agent.reconciler.look_at_git()
        waits(rig)
        rig.now += POLL  # what is due by time comes due while a task is under way
        waits(rig)
        looks = looks + 1 if at_rest(rig) else 0
        if looks > 3:
            return done - looks
        rig._tasks.popleft()()
    raise AssertionError("never at rest")


def test_no_pass_follows_at_once_while_something_is_under_way(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    assert work(rig) > 5
    assert rig.running()
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]}, "refs/heads/proposal")
    assert work(rig) > 2
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 3})]}, "refs/heads/proposal")
    rig.agent.reconciler.look_at_git()
    while not rig.agent.reconciler._plans.busy:
        rig.agent.reconciler.run()
        rig._tasks.popleft()()
    rig.push({"vm.yaml": None}, "refs/heads/proposal")  # its plan is out of date before it is made
    assert work(rig) > 2
    rig.push({"restart.yaml": operation("restart", "vm", "Restart")}, OPERATIONS)
    assert work(rig) > 2
    rig.push({"vm.yaml": disk()})
    assert work(rig) > 2
    assert not rig.running()


def counted(rig: Rig, monkeypatch: pytest.MonkeyPatch, fails: Callable[[], bool]) -> list[float]:
    """When the status branch was written or could not be."""
    times: list[float] = []
    commit = rig.repo.commit

    def seen(ref: str, *values: Any, **more: Any) -> str:
        if ref == STATUS:
            times.append(rig.now)
            if fails():
                raise RepositoryError("PushRejected", "the branch is protected")
        return commit(ref, *values, **more)

    monkeypatch.setattr(rig.repo, "commit", seen)
    return times


def until_next(rig: Rig) -> float:
    """Passes, and what they started, until only time can help; how much that is."""
    for _ in range(100):
        wait = rig.step()
        if rig.agent.reconciler._inbox.empty() and wait > 0:
            return wait
    raise AssertionError("never at rest")


def go_on(rig: Rig, seconds: float) -> None:
    """Whatever there is to do within this time; passes come when they asked for it."""
    end = rig.now + seconds
    rig.agent.reconciler.look_at_git()
    while (wait := until_next(rig)) <= end - rig.now:
        rig.now += wait


def test_a_branch_that_cannot_be_written_is_tried_again_in_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = True
    tries = counted(rig, monkeypatch, lambda: refused)
    rig.push({"data.yaml": disk("data")})  # it is not made before the status branch knows of it
    go_on(rig, 4 * FETCH_AGAIN + 1)
    assert [later - earlier for earlier, later in pairwise(tries)] == [FETCH_AGAIN] * 4
    refused = False
    go_on(rig, FETCH_AGAIN)
    assert len(rig.host.pools["gitvirt"]) == 1


def test_what_was_put_off_is_written_when_it_may_be(tmp_path: Path) -> None:
    rig = Rig(tmp_path, status_interval=3.0)
    rig.push({"vm.yaml": [disk(), machine()], "other.yaml": disk("other")})
    rig.settle()
    rig.push({"other.yaml": None})
    go_on(rig, 3.0 + DETAILS_EVERY)
    assert not any("/other" in path for path in rig.documents() if not path.startswith(TRASH))


def test_an_object_of_the_same_name_waits_for_its_own_write(rig: Rig) -> None:
    rig.push({"class.yaml": manifest("VirtualMachineClass", "mine", {"cpu": {"type": "Host"}})})
    rig.settle()
    reconciler = rig.agent.reconciler
    book, writing, wanted = reconciler._book, reconciler._writing, reconciler._repository.desired
    key = Key("VirtualMachineClass", "", "mine")
    assert wanted is not None
    book.outbox.change(key, book.records[key].obj.uid)
    writing.compose({}, "", rig.now)
    book.remove(key, rig.now)  # while that is being written
    book.accept(wanted, rig.now)
    book.outbox.written()
    assert not book.is_saved(key)
    rig.settle()
    assert book.is_saved(key)
