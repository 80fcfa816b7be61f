"""Passes wait for what is under way: none asks for another one at once while nothing happens."""

from __future__ import annotations

from tests.rig import OPERATIONS, Rig, disk, machine, operation


def work(rig: Rig) -> int:
    """Carry everything out, one task after the other, with news of Git before each; how many there were."""
    reconciler = rig.agent.reconciler
    for done in range(300):
        reconciler.look_at_git()
        reconciler.run()
        waits = [reconciler.run() for _ in range(3)]
        assert waits[-1] > 0 or not rig._tasks, (done, waits)
        rig.now += 31  # what is due by time comes due while a task is under way
        reconciler.run()
        waits = [reconciler.run() for _ in range(3)]
        assert waits[-1] > 0 or not rig._tasks, (done, waits)
        if not rig._tasks or done > 100:
            return done
        rig._tasks.popleft()()
    raise AssertionError("never at rest")


def test_no_pass_follows_at_once_while_something_is_under_way(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    assert work(rig) > 5
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
    rig.push({"vm.yaml": None})
    assert work(rig) > 2
