"""One story, and the agent dies, or something fails, at each of its effects in turn: the end is always the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.core.host import HostError
from agent.gitrepo.repository import RepositoryError, StaleTip
from tests.memory_host import Killed
from tests.product.faults import Effects, FragileRepository, Turn, WatchedHost
from tests.rig import OPERATIONS, START, STATUS, Rig, disk, machine, operation

USER_DATA: dict[str, Any] = {
    "provisioning": {"type": "UserData", "userData": "#cloud-config\n{}\n"}
}
DATA = [disk(), disk("data")]
STORY: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"vm.yaml": machine(disks=("root", "data"), **USER_DATA), "disks.yaml": DATA},
        "refs/heads/main",
    ),
    (
        {"vm.yaml": machine(disks=("root", "data"), cpu={"cores": 2}, **USER_DATA)},
        "refs/heads/main",
    ),
    ({"r.yaml": operation("again", "vm", "Restart")}, OPERATIONS),
    ({"s.yaml": operation("stop", "vm", "Stop")}, OPERATIONS),
    ({"t.yaml": operation("start", "vm", "Start")}, OPERATIONS),
    ({"u.yaml": operation("kick", "vm", "Restart", force=True)}, OPERATIONS),
    ({"vm.yaml": disk("third")}, "refs/heads/main"),
)


@dataclass
class Told:
    """What a story came to."""

    effects: list[str]
    turns: list[Turn]
    volumes: int
    phases: dict[str, str]
    chapters: list[tuple[bool, bool]]
    took: float


def tell(
    folder: Path,
    fault: Callable[[int, str, str], None],
    *,
    heir: str = "agent",
    fate: str = "comes_up",
    looks: bool = False,
) -> Told:
    """Tell the story with a fault; whenever the agent dies, `heir` takes over. A start that it leaves half done ends as `fate`
    says, under the heir's eyes. With `looks` the agent reads the host in the middle of every start.
    """
    effects = Effects(fault)
    host = WatchedHost()
    rig = Rig(folder, host=host)
    repository = FragileRepository(lambda: rig.now)
    rig.repo = repository

    def effect(what: str, when: str) -> None:
        if looks and when == "middle":
            host._tell(rig.uuid(), "lifecycle")
            passes(rig, 3)
        effects(what, when)

    host.on_effect = effect
    repository.effects = effects
    rig.start()
    chapters: list[tuple[bool, bool]] = []
    for files, ref in STORY:
        rig.push(files, ref)
        while True:
            try:
                rig.settle()
                break
            except Killed:
                rig.start(heir)
            for uuid in host.starting():
                passes(rig, 8)
                getattr(host, fate)(uuid)
        chapters.append((rig.running(), rig.uuid() in host._domains))
    phases = {
        path.rsplit("/", 1)[-1]: rig.document(path)["status"]["phase"]
        for path in rig.documents()
        if "/virtualmachineoperations/" in path or "/virtualdisks/" in path
    }
    for uid, targets in host.targets.items():
        assert len(targets) == 1, f"operation {uid} was meant for {targets}"
    before = (len(effects.done), repository.refs[STATUS])
    rig.now += 1000
    rig.settle()
    assert (len(effects.done), repository.refs[STATUS]) == before
    return Told(
        effects.done, host.turns, len(host.pools["gitvirt"]), phases, chapters, rig.now - START
    )


def passes(rig: Rig, count: int) -> None:
    """Passes of an agent that looks at everything first, as one does that takes over."""
    rig.agent.reconciler.look_at_git()
    for _ in range(count):
        rig.step()


def nothing(_number: int, _what: str, _phase: str) -> None:
    pass


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story as it goes without a fault."""
    return tell(tmp_path_factory.mktemp("plain"), nothing)


def same(found: Told, plain: Told) -> None:
    assert found.chapters == plain.chapters
    assert found.phases == plain.phases
    assert found.volumes == plain.volumes
    assert [turn.on for turn in found.turns] == [turn.on for turn in plain.turns]
    assert len({turn.instance for turn in found.turns if turn.on}) == sum(
        turn.on for turn in plain.turns
    )


def test_the_story_itself(told: Told) -> None:
    assert [on for on, _ in told.chapters] == [True, True, True, False, True, True, False]
    assert told.chapters[-1] == (False, False)
    assert told.volumes == 3
    assert set(told.phases.values()) == {"Completed", "Ready"}
    assert [turn.on for turn in told.turns] == [True, False, True, False, True, False, True, False]
    assert {
        "create_volume",
        "upload_volume",
        "define",
        "start",
        "shutdown",
        "destroy",
        "undefine",
        "set_live_metadata",
        "delete_volume",
        "push",
    } >= set(told.effects)
    assert len(told.effects) > 30


@pytest.mark.parametrize("heir", ["agent", "another"])
def test_the_agent_is_killed_after_each_effect(tmp_path: Path, told: Told, heir: str) -> None:
    """Which is the same as before the next one: nothing but effects outlives an agent."""
    for number in range(1, len(told.effects) + 1):

        def kill(at: int, _what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, "after"):
                raise Killed

        found = tell(tmp_path / str(number), kill, heir=heir)
        same(found, told)
        if heir == "agent":
            assert found.took < 1300  # nobody waited for a lease


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_effect_fails_once(tmp_path: Path, told: Told, phase: str) -> None:
    for number, verb in enumerate(told.effects, 1):

        def fail(at: int, what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, phase):
                if what == "push":
                    raise RepositoryError("Unreachable", "the repository is away")
                raise HostError("HypervisorError", f"{what} failed")

        found = tell(tmp_path / str(number), fail)
        assert (number, verb, found.chapters) == (number, verb, told.chapters)
        same(found, told)


def test_somebody_else_writes_first(tmp_path: Path, told: Told) -> None:
    for number, verb in enumerate(told.effects, 1):
        if verb != "push":
            continue

        def stale(at: int, what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, "before"):
                raise StaleTip(STATUS)

        same(tell(tmp_path / str(number), stale), told)


@pytest.mark.parametrize("heir", ["agent", "another"])
def test_the_agent_is_killed_again_and_again(tmp_path: Path, told: Told, heir: str) -> None:
    """Every third effect is the last one of some agent."""
    for offset in range(3):

        def kill(at: int, _what: str, when: str, offset: int = offset) -> None:
            if at % 3 == offset and when == "after":
                raise Killed

        found = tell(tmp_path / str(offset), kill, heir=heir)
        same(found, told)


def starts(told: Told) -> list[int]:
    """The numbers of the story's starts."""
    return [number for number, verb in enumerate(told.effects, 1) if verb == "start"]


@pytest.mark.parametrize("heir", ["agent", "another"])
@pytest.mark.parametrize("fate", ["comes_up", "start_fails"])
def test_the_agent_is_killed_in_the_middle_of_a_start(
    tmp_path: Path, told: Told, heir: str, fate: str
) -> None:
    assert len(starts(told)) == 4
    for number in starts(told):

        def kill(at: int, _what: str, when: str, number: int = number) -> None:
            if (at, when) == (number, "middle"):
                raise Killed

        same(tell(tmp_path / str(number), kill, heir=heir, fate=fate), told)


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("times", [1, 5])
def test_a_start_fails_in_its_middle(tmp_path: Path, told: Told, times: int, looks: bool) -> None:
    """Every start of the story, and so many of the attempts after it."""
    failed: dict[int, int] = {}
    for number in starts(told):
        left = [times]

        def fail(
            at: int, what: str, when: str, number: int = number, left: list[int] = left
        ) -> None:
            if what == "start" and when == "middle" and at >= number and left[0]:
                left[0] -= 1
                raise HostError("HypervisorError", "QEMU ended at once")

        same(tell(tmp_path / str(number), fail, looks=looks), told)
        failed[number] = times - left[0]
    assert set(failed.values()) == {times}
