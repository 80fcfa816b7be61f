"""Every verb that there is belongs to a story of which each effect is broken: those of other files, and these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.host import HostError
from agent.places import Pools
from agent.reconcile import execute
from agent.reconcile.verbs import VERBS, verb_of
from tests.memory_host import Killed
from tests.product import (
    test_clone_faults,
    test_cold_moves,
    test_disk_faults,
    test_faults,
    test_migration_faults,
    test_restore_faults,
)
from tests.product.faults import Effects
from tests.product.test_address_delivery import RANGE, address, entries
from tests.product.test_evacuation import mark
from tests.product.test_migration import SHARED, fleet, whole
from tests.rig import OPERATIONS, Rig, disk, machine, settings

Fault = Callable[[int, str, str], None]
ELSEWHERE = {
    "DiscardUpload",
    "DropSnapshot",
    "ResumeDomain",
    "ThawGuest",
}
"""What no story here or in these files comes to: tests of their own kill the agent there, or say what a half of it leaves."""


def nothing(_number: int, _what: str, _phase: str) -> None:
    pass


def watched(rig: Rig, fault: Fault) -> Effects:
    effects = Effects(fault)
    for host in rig.hosts.values():
        host.on_effect = effects
    return effects


def settled(rig: Rig) -> None:
    """Whoever dies has an heir; what has failed is tried again by and by."""
    for _ in range(3):
        try:
            rig.settle()
        except Killed:
            rig.start()
            rig.settle()
        rig.now += 400


# -- the stories: each returns what was done, and has looked at the end -------------------------------


def addresses(folder: Path, fault: Fault) -> list[str]:
    """A machine gets an address, and leaves it."""
    rig = Rig(folder)
    effects = watched(rig, fault)
    rig.push({"config.yaml": settings(RANGE), "vm.yaml": [machine(), disk()]})
    settled(rig)
    assert entries(rig) == {"vm.default.default.gitvirt": address(rig)}
    assert rig.running()
    rig.push({"vm.yaml": disk()})
    settled(rig)
    settled(rig)
    assert entries(rig) == {}
    folders = ("cluster/virtualmachineipaddressleases/", "namespaces/default/virtualmachineip")
    assert not [path for path in rig.documents() if path.startswith(folders)]
    return effects.done


def drain(folder: Path, fault: Fault) -> list[str]:
    """All leave their node, each once."""
    rig = fleet(folder, Pools())
    rig.push({"more.yaml": [disk("more"), machine("more", disks=("more",))]})
    mark(rig, name="pt-3")
    rig.settle()
    effects = watched(rig, fault)
    mark(rig)
    settled(rig)
    for name in ("vm", "more"):
        assert (rig.on(name), rig.there(name)) == (["pt-2"], ["pt-2"])
    assert [node for node in rig.hosts if rig.volumes(node)] == ["pt-2"]
    assert len(rig.hosts["pt-1"].orders) >= 1
    return effects.done


def withdrawn(folder: Path, fault: Fault) -> list[str]:
    """A migration that is withdrawn while it is under way: the machine stays, and nothing of it is elsewhere."""
    rig = fleet(folder, Pools())
    source = rig.hosts["pt-1"]
    source.migrations_held = True
    rig.ask()
    rig.agent.reconciler.look_at_git()
    at_stage = source.at_stage

    def dies(stage: str) -> None:
        if stage == "copied":
            raise Killed

    source.at_stage = dies
    with pytest.raises(Killed):
        rig.settle()
    source.at_stage = at_stage
    rig.push({"move.yaml": None}, OPERATIONS)
    rig.start()
    effects = watched(rig, fault)
    settled(rig)
    assert source.going == {}
    whole(rig, "pt-1")
    return effects.done


def landing(folder: Path, fault: Fault) -> list[str]:
    """The agent was away when the guest landed."""
    rig = fleet(folder, Pools())
    source = rig.hosts["pt-1"]

    def dies(stage: str) -> None:
        if stage == "handed":
            raise Killed

    at_stage, source.at_stage = source.at_stage, dies
    rig.ask()
    with pytest.raises(Killed):
        rig.settle()
    source.at_stage = at_stage
    rig.start()
    effects = watched(rig, fault)
    settled(rig)
    whole(rig, "pt-2")
    return effects.done


def given_up(folder: Path, fault: Fault) -> list[str]:
    """The guest has landed, and the source goes on by itself."""
    rig = fleet(folder, Pools())
    source = rig.hosts["pt-1"]

    def dies(stage: str) -> None:
        if stage == "landed":
            raise Killed

    at_stage, source.at_stage = source.at_stage, dies
    rig.ask()
    with pytest.raises(Killed):
        rig.settle()
    source.at_stage = at_stage
    source.migration_breaks(rig.uuid())
    rig.push({"move.yaml": None}, OPERATIONS)
    rig.start()
    effects = watched(rig, fault)
    settled(rig)
    whole(rig, "pt-1")
    return effects.done


def stopped_at_the_end(folder: Path, fault: Fault) -> list[str]:
    """The source was stopped at the end of a migration, and nothing is on the target: it goes on."""
    rig = fleet(folder, SHARED)
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]

    def dies(stage: str) -> None:
        if stage == "landed":
            raise Killed

    at_stage, source.at_stage = source.at_stage, dies
    rig.ask()
    with pytest.raises(Killed):
        rig.settle()
    source.at_stage = at_stage
    source.going.clear()
    target._drop(rig.uuid())
    rig.push({"move.yaml": None}, OPERATIONS)
    rig.start()
    effects = watched(rig, fault)
    settled(rig)
    whole(rig, "pt-1")
    return effects.done


STORIES = {
    each.__name__: each
    for each in (addresses, drain, withdrawn, landing, given_up, stopped_at_the_end)
}


@pytest.mark.parametrize("story", STORIES)
def test_each_effect_is_broken_and_the_end_is_the_same(tmp_path: Path, story: str) -> None:
    def folder(name: str) -> Path:
        made = tmp_path / name
        made.mkdir()
        return made

    plain = STORIES[story](folder("plain"), nothing)
    assert plain
    for number in range(1, len(plain) + 1):
        for how in ("killed", "fails") if number % 2 else ("killed",):

            def fault(at: int, what: str, when: str, number: int = number, how: str = how) -> None:
                if (at, when) == (number, "after" if how == "killed" else "before"):
                    raise Killed if how == "killed" else HostError("Failed", f"{what} failed")

            STORIES[story](folder(f"{number} {how}"), fault)


# -- all of them ----------------------------------------------------------------------------------


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The verbs that are carried out."""
    found: set[str] = set()

    def recording(action: object) -> object:
        found.add(type(action).__name__)
        return verb_of(action)  # type: ignore[type-var]

    monkeypatch.setattr(execute, "verb_of", recording)
    return found


def tell_all(folder: Path) -> None:
    """Each story of which every effect is broken somewhere, without a fault."""

    def inside(name: str) -> Path:
        made = folder / name
        made.mkdir()
        return made

    for name, story in STORIES.items():
        story(inside(name), nothing)
    test_faults.tell(inside("faults"), nothing)
    test_clone_faults.tell(inside("clone"), nothing)
    test_restore_faults.tell(inside("restore"), nothing, on=True)
    for number, deed in enumerate(test_disk_faults.DEEDS):
        begin = test_disk_faults.Beginning.of(inside(f"begin {number}"), deed)
        test_disk_faults.tell(begin.rig(inside(f"disk {number}")), deed, nothing)
    moving = fleet(inside("moving"), Pools())
    moving.ask()
    test_migration_faults.run(moving)
    cold = test_cold_moves.stopped(inside("cold"), Pools())
    test_cold_moves.start(cold)
    cold.settle()


def test_every_verb_is_in_a_story_that_is_broken_at_each_effect(
    tmp_path: Path, done: set[str]
) -> None:
    tell_all(tmp_path)
    every = {action.__name__ for action in VERBS}
    assert every - done == ELSEWHERE
