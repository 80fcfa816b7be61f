"""A machine goes to another node, and the agent dies, or something breaks, at each stage of that: it never runs twice, nothing is
lost, and nothing stays behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.status import timestamp
from agent.places import Pools
from tests.memory_host import Killed, MemoryHost
from tests.product.test_migration import Fleet, fleet, whole
from tests.rig import OPERATIONS

NEVER = 10_000


class Stage:
    """Numbers everything that happens while the machine moves; `fault` is called at the number that is meant."""

    def __init__(self, rig: Fleet, number: int, fault: Callable[[], None]) -> None:
        self.rig, self.number, self.fault = rig, number, fault
        self.seen: list[str] = []
        for node, host in rig.hosts.items():
            host.on_effect = self._hook(node)
            host.at_stage = lambda stage, node=node: self._at(f"{node} {stage}")  # type: ignore[misc]

    def _hook(self, node: str) -> Callable[[str, str], None]:
        def effect(verb: str, phase: str) -> None:
            if verb != "ensure_pool" and phase == "after":
                self._at(f"{node} {verb}")

        return effect

    def _at(self, what: str) -> None:
        assert len(self.rig.on()) <= 1, f"it runs twice at {what}"
        self.seen.append(what)
        if len(self.seen) == self.number:
            self.fault()


def die() -> None:
    raise Killed


def run(rig: Fleet, heir: str = "agent") -> None:
    """Passes until nothing is left to do; whoever dies is followed by an heir."""
    for _ in range(5):
        try:
            rig.settle()
        except Killed:
            rig.start(heir)
        else:
            return
    raise AssertionError("it dies again and again")


def come_to_an_end(host: MemoryHost) -> None:
    """libvirt goes on with what the agent has begun."""
    for uuid in list(host.going):
        if host._domains[uuid].reason != "migration":
            host.migration_lands(uuid)
        host.migration_ends(uuid)


def test_the_stages(tmp_path: Path) -> None:
    rig = fleet(tmp_path, Pools())
    stage = Stage(rig, NEVER, die)
    rig.ask()
    run(rig)
    whole(rig, "pt-2")
    assert [each.split()[1] for each in stage.seen if each.startswith("pt-1")] == [
        *(
            "define",
            "set_live_metadata",
            "begin_migration",
            "incoming",
            "copied",
            "landed",
            "handed",
        ),
        *("undefine", "delete_volume", "delete_volume"),
    ]
    assert len(stage.seen) < STAGES


STAGES = 25


@pytest.mark.parametrize("number", range(1, STAGES))
def test_the_agent_dies_at_each_stage(tmp_path: Path, number: int) -> None:
    rig = fleet(tmp_path, Pools())
    Stage(rig, number, die)
    rig.ask()
    rig.agent.reconciler.look_at_git()
    try:
        rig.settle()
    except Killed:
        for host in rig.hosts.values():
            come_to_an_end(host)
        rig.start()
        run(rig)
    whole(rig, "pt-2")
    assert rig.vmop("move")["status"]["phase"] == "Completed"
    assert len(rig.hosts["pt-1"].orders) == 1


@pytest.mark.parametrize("number", range(1, STAGES, 2))
def test_the_target_is_lost_at_each_stage_and_comes_back(tmp_path: Path, number: int) -> None:
    rig = fleet(tmp_path, Pools())
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]

    def lose() -> None:
        target.disconnect()

    Stage(rig, number, lose)
    rig.ask()
    rig.go(40)
    assert len(rig.on()) <= 1
    target.reconnect()
    rig.push({"move.yaml": None}, OPERATIONS)
    rig.settle()
    (at,) = rig.on()
    whole(rig, at)
    assert not source.going


@pytest.mark.parametrize("number", range(1, STAGES, 2))
def test_the_source_is_lost_at_each_stage_and_comes_back(tmp_path: Path, number: int) -> None:
    rig = fleet(tmp_path, Pools())
    source = rig.hosts["pt-1"]
    Stage(rig, number, source.disconnect)
    rig.ask()
    rig.go(40)
    assert len(rig.on()) <= 1
    for uuid in source.going:
        assert source._domains[uuid].active
    come_to_an_end(source)
    source.reconnect()
    rig.settle()
    whole(rig, "pt-2")


BROKEN = ["incoming", "copied"]


@pytest.mark.parametrize("stage", BROKEN)
def test_a_link_that_breaks_leaves_the_machine_where_it_was_and_it_is_tried_again(
    tmp_path: Path, stage: str
) -> None:
    rig = fleet(tmp_path, Pools())
    source = rig.hosts["pt-1"]
    count = [0]

    def breaks(what: str) -> None:
        if what == stage and count[0] == 0:
            count[0] += 1
            source.migration_breaks(rig.uuid())

    source.at_stage = breaks
    rig.ask()
    rig.settle()
    whole(rig, "pt-2")
    assert len(source.orders) == 2


def test_a_source_that_goes_on_by_itself_keeps_its_machine(tmp_path: Path) -> None:
    """The link is cut before the target has said that it has landed: the source goes on half a minute later."""
    rig = fleet(tmp_path, Pools())
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]
    done = [False]

    def cut(what: str) -> None:
        if what == "landed" and not done[0]:
            done[0] = True
            source.migration_breaks(rig.uuid())

    source.at_stage = cut
    rig.ask()
    rig.push({"move.yaml": None}, OPERATIONS)
    rig.ask()
    rig.settle()
    (at,) = rig.on()
    whole(rig, at)
    assert not target.going


def test_both_that_wait_are_told_apart_by_ending_the_source(tmp_path: Path) -> None:
    """The source's daemon is killed when the guest has landed: both stay paused."""
    rig = fleet(tmp_path, Pools())
    source = rig.hosts["pt-1"]

    def killed(what: str) -> None:
        if what == "landed":
            source.going.clear()

    source.at_stage = killed
    rig.ask()
    rig.settle()
    whole(rig, "pt-2")
    assert ("destroy", rig.uuid()) in source.verbs


def test_what_has_landed_goes_on_once_its_lost_source_is_fenced(tmp_path: Path) -> None:
    rig = fleet(tmp_path, Pools())
    source = rig.hosts["pt-1"]

    def lose(what: str) -> None:
        if what == "landed":
            source.disconnect()

    source.at_stage = lose
    rig.ask()
    rig.go(60)
    assert rig.on() == []  # nobody can tell whether the source goes on by itself
    assert "is on its way" in str(rig.vm()) or "was on its way" in str(rig.vm())
    annotations = {"gitvirt.io/fenced": timestamp(rig.now)}
    node = {"apiVersion": "v1", "kind": "Node"}
    rig.push({"node.yaml": {**node, "metadata": {"name": "pt-1", "annotations": annotations}}})
    rig.go(30)
    assert rig.on() == ["pt-2"]
    assert rig.vmop("move")["status"]["phase"] == "Completed"
    source.at_stage = lambda _what: None
    source.going.clear()
    with source._lock:
        source._forget(source._domains[rig.uuid()])  # it was off, and comes up with nothing running
    source.reconnect()
    rig.settle()
    whole(rig, "pt-2")
