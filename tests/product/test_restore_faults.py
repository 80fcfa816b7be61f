"""A restore, and the agent dies, or something fails, at each of its effects in turn: the end is always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.host import HostError
from agent.gitrepo.repository import RepositoryError
from tests.memory_host import Killed
from tests.product.faults import Effects, FragileRepository, WatchedHost, killed_at
from tests.product.test_restore import (
    ask,
    outcome,
    restored,
    undo,
    undone,
    volumes,
    with_snapshot,
)
from tests.rig import OPERATIONS, STATUS, Rig, operation

Fault = Callable[[int, str, str], None]


def nothing(_number: int, _what: str, _phase: str) -> None:
    pass


def tell(folder: Path, fault: Fault, *, on: bool, heir: str = "agent") -> list[str]:
    """Restore a machine that is on or off, with a fault; whenever the agent dies, `heir` takes over. What was done."""
    host = WatchedHost()
    rig = Rig(folder, host=host)
    repository = FragileRepository(lambda: rig.now)
    rig.repo = repository
    rig.start()
    with_snapshot(rig)
    if not on:
        rig.push({"off.yaml": operation("off", "vm", "Stop")}, OPERATIONS)
        rig.settle()
    before, turned = set(volumes(rig)), len(host.turns)
    repository.effects = host.on_effect = effects = Effects(fault)
    ask(rig)
    while True:
        try:
            rig.settle()
            break
        except Killed:
            rig.start(heir)
    assert outcome(rig) == ("Completed", "OperationCompleted")
    assert restored(rig)
    assert rig.running() is on
    assert [turn.on for turn in host.turns[turned:]] == ([False, True] if on else [])
    kept = [path for path in rig.documents() if path.startswith("trash/")]
    assert len(kept) == 2
    assert before < set(volumes(rig))
    assert len(volumes(rig)) == 4
    end = len(effects.done), repository.refs[STATUS]
    rig.now += 1000
    rig.settle()
    assert (len(effects.done), repository.refs[STATUS]) == end
    return effects.done


def test_the_agent_is_killed_after_each_effect_of_an_undo(tmp_path: Path) -> None:
    def told(folder: Path, fault: Fault) -> int:
        host = WatchedHost()
        rig = Rig(folder, host=host)
        repository = FragileRepository(lambda: rig.now)
        rig.repo = repository
        rig.start()
        with_snapshot(rig)
        ask(rig)
        rig.settle()
        turned = len(host.turns)
        repository.effects = host.on_effect = effects = Effects(fault)
        undo(rig)
        while True:
            try:
                rig.settle()
                break
            except Killed:
                rig.start("another" if effects.count % 2 else "agent")
        assert outcome(rig, "undo") == ("Completed", "OperationCompleted")
        assert undone(rig)
        assert rig.running()
        assert [turn.on for turn in host.turns[turned:]] == [False, True]
        assert len(volumes(rig)) == 4
        return len(effects.done)

    for number in range(1, told(tmp_path / "plain", nothing) + 1):
        told(tmp_path / str(number), killed_at(number))


@pytest.fixture(params=[True, False], ids=["on", "off"])
def on(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("heir", ["agent", "another"])
def test_the_agent_is_killed_after_each_effect(tmp_path: Path, on: bool, heir: str) -> None:
    done = tell(tmp_path / "plain", nothing, on=on)
    assert {"copy_volume", "create_volume", "delete_volume", "define", "push"} <= set(done)
    assert ("shutdown" in done) is on
    for number in range(1, len(done) + 1):
        tell(tmp_path / str(number), killed_at(number), on=on, heir=heir)


def test_the_agent_is_killed_in_the_middle_of_each_copy(tmp_path: Path, on: bool) -> None:
    done = tell(tmp_path / "plain", nothing, on=on)
    numbers = [number for number, verb in enumerate(done, 1) if verb == "copy_volume"]
    assert len(numbers) == 2
    for number in numbers:
        tell(tmp_path / str(number), killed_at(number, "middle"), on=on)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_effect_fails_once(tmp_path: Path, on: bool, phase: str) -> None:
    done = tell(tmp_path / "plain", nothing, on=on)
    for number in range(1, len(done) + 1):

        def fail(at: int, what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, phase):
                if what == "push":
                    raise RepositoryError("Unreachable", "the repository is away")
                raise HostError("HypervisorError", f"{what} failed")

        tell(tmp_path / str(number), fail, on=on)
