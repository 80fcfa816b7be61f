"""A guest that was left frozen writes again, and one that somebody else has frozen is left alone."""

from __future__ import annotations

import pytest

from agent.core.backup import GIVEN_UP, Mark, mark_of
from agent.core.host import GuestInfo
from tests.rig import Rig, disk, machine


@pytest.fixture
def up(rig: Rig) -> Rig:
    rig.push({"vm.yaml": machine(), "disk.yaml": disk()})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()

    def connect(root: object) -> None:
        for target in root.iter("target"):  # type: ignore[attr-defined]
            if target.get("name") == "org.qemu.guest_agent.0":
                target.set("state", "connected")

    rig.host.edit(rig.uuid(), connect, live=True)
    rig.settle()
    rig.verbs()
    return rig


def leave(rig: Rig, *, begun: bool = False) -> None:
    """A helper was ended while it froze the guest."""
    rig.host._write_mark(rig.uuid(), Mark("snap", rig.now, True, begun, consistent=False))


def frozen(rig: Rig) -> bool:
    raw = rig.host.read_domain(rig.uuid())
    mark = mark_of(raw.active_xml) if raw is not None else None
    return mark is not None and mark.frozen


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_helper_left_frozen_is_thawed_by_whoever_takes_over(up: Rig, begun: bool) -> None:
    leave(up, begun=begun)
    up.start("another")
    up.settle()
    assert not frozen(up)
    assert up.verbs() == ["thaw"]


def test_a_helper_has_its_time_to_do_it_itself(up: Rig) -> None:
    leave(up)
    up.agent.reconciler.look_at_git()
    up.now += GIVEN_UP - 1
    for _ in range(3):
        up.step()
    assert frozen(up)
    up.now += 1
    for _ in range(3):
        up.step()
    assert not frozen(up)


def test_a_guest_that_bears_no_mark_is_left_as_it_is(up: Rig) -> None:
    up.now += 1000
    up.settle()
    assert "thaw" not in up.verbs()


def test_an_agent_that_is_not_there_is_not_asked(up: Rig) -> None:
    def disconnect(root: object) -> None:
        for target in root.iter("target"):  # type: ignore[attr-defined]
            target.attrib.pop("state", None)

    up.host.edit(up.uuid(), disconnect, live=True)
    leave(up)
    up.now += 1000
    up.settle()
    assert "thaw" not in up.verbs()
    assert up.running()
