"""Between a decision and its deed somebody else may have ended the instance that was meant, and started another one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.core.jobs import Job
from tests.rig import OPERATIONS, Rig, disk, machine, operation


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.verbs()
    return rig


def decided(rig: Rig, verb: str) -> None:
    """Passes until a verb is about to be carried out."""
    rig.agent.reconciler.look_at_git()
    for _ in range(20):
        rig.agent.reconciler.run()
        if any(verb in job.busy for job in jobs(rig)):
            return
        while rig._tasks:
            rig._tasks.popleft()()
    raise AssertionError(f"nobody was about to {verb}")


def jobs(rig: Rig) -> list[Job]:
    engine = rig.agent.reconciler._engine
    found = (engine.get("job", key) for key in rig.agent.reconciler.records())
    return [job for job in found if job is not None]


def another_one(rig: Rig) -> str:
    """The instance crashes, and somebody starts the next one by hand."""
    rig.host.crash(rig.uuid())
    rig.host.start(rig.uuid())
    rig.verbs()
    return rig.memory(active=True).instance


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("ShutdownDomain", lambda rig: stop(rig)),
        ("DestroyDomain", lambda rig: stop(rig, force=True)),
    ],
)
def test_another_instance_is_not_ended(on: Rig, verb: str, ask: Callable[[Rig], None]) -> None:
    ask(on)
    decided(on, verb)
    instance = another_one(on)
    on.settle()
    assert {"shutdown", "destroy"}.isdisjoint(on.verbs())
    assert on.memory(active=True).instance == instance


def stop(rig: Rig, **more: bool) -> None:
    rig.push({"op.yaml": operation("op", "vm", "Stop", **more)}, OPERATIONS)


def test_what_is_written_for_an_instance_is_not_written_into_another_one(on: Rig) -> None:
    labelled = machine(metadata={"labels": {"tier": "db"}}, cpu={"cores": 2})
    on.push({"vm.yaml": [disk(), labelled]})
    decided(on, "SetLiveMetadata")
    another_one(on)
    before = on.memory(active=True)
    while on._tasks:
        on._tasks.popleft()()
    assert "set_live_metadata" not in on.verbs()
    assert on.memory(active=True) == before
