"""Guests are asked until they have an address: their network comes up after their agent."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from agent.assemble import THREADS
from agent.core.host import GuestInfo
from agent.reconcile.guests import SETTLED, Guests
from tests.rig import Rig, disk, machine, manifest

DOMAIN = "uuid"
ADDRESS = GuestInfo(os={"id": "test"}, addresses={"52:00:00:00:00:01": ("fe80::1", "10.0.2.15")})
NONE_YET = GuestInfo(os={"id": "test"}, addresses={"52:00:00:00:00:01": ("fe80::1",)})


def test_a_guest_without_an_address_is_asked_again_ever_more_seldom() -> None:
    guests = Guests()
    assert guests.pop_due(0.0) == []
    guests.opened(DOMAIN, 0.0)
    asked = []
    for second in range(200):
        if guests.pop_due(float(second)):
            asked.append(second)
            guests.answered(DOMAIN, NONE_YET, float(second))
    assert asked[:6] == [0, 1, 3, 7, 15, 31]
    assert asked[-1] - asked[-2] == 60


def test_a_guest_that_said_all_is_left_alone_for_a_while() -> None:
    guests = Guests()
    guests.opened(DOMAIN, 0.0)
    assert guests.pop_due(0.0) == [DOMAIN]
    guests.answered(DOMAIN, ADDRESS, 0.5)
    guests.opened(DOMAIN, 1.0)
    assert guests.pop_due(SETTLED) == []
    assert guests.pop_due(SETTLED + 0.5) == [DOMAIN]
    guests.closed(DOMAIN)
    assert guests.pop_due(10 * SETTLED) == []


def asked(guests: Guests, answer: GuestInfo, start: int, end: int) -> list[int]:
    """Seconds at which a guest is asked that always answers the same."""
    seconds = []
    for second in range(start, end):
        if guests.pop_due(float(second)):
            seconds.append(second)
            guests.answered(DOMAIN, answer, float(second))
    return seconds


def test_an_interface_that_comes_has_its_guest_asked_soon() -> None:
    first, second = "52:00:00:00:00:01", "52:00:00:00:00:02"
    guests, one, both = Guests(), frozenset({first}), frozenset({first, second})
    guests.opened(DOMAIN, 0.0, one)
    assert asked(guests, ADDRESS, 0, 10) == [0]
    guests.opened(DOMAIN, 10.0, both)
    assert asked(guests, ADDRESS, 10, 14) == [10, 11, 13]
    told = replace(ADDRESS, addresses={**ADDRESS.addresses, second: ("10.1.0.7",)})
    assert asked(guests, told, 14, 300) == [17]
    guests.opened(DOMAIN, 300.0, both)
    assert guests.pop_due(300.0) == []


def test_an_interface_that_nobody_gives_an_address_is_not_asked_about_for_ever() -> None:
    guests = Guests()
    guests.opened(DOMAIN, 0.0, frozenset({"52:00:00:00:00:01", "52:00:00:00:00:02"}))
    assert asked(guests, ADDRESS, 0, 1000) == [0, 1, 3, 7, 15, 31, 331, 631, 931]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A machine whose agent's channel is open."""
    rig = Rig(tmp_path)
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    rig.host.guests[rig.uuid()] = NONE_YET

    def connect(root: etree._Element) -> None:
        target = root.find("devices/channel/target")
        assert target is not None
        target.set("state", "connected")

    rig.host.edit(rig.uuid(), connect, live=True)
    return rig


def steps(rig: Rig) -> None:
    for _ in range(8):
        rig.now += 2
        rig.step()


def test_an_address_that_comes_later_is_shown(rig: Rig) -> None:
    rig.settle()
    assert rig.vm()["status"].get("ipAddress") is None
    rig.host.guests[rig.uuid()] = ADDRESS
    steps(rig)
    assert rig.vm()["status"]["ipAddress"] == "10.0.2.15"


def test_downloads_keep_no_address_waiting(rig: Rig) -> None:
    rig.downloads = deque()
    http = {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/x"}}
    names = [f"image-{number}" for number in range(THREADS["imports"])]
    rig.push(
        {"images.yaml": [manifest("VirtualImage", name, {"dataSource": http}) for name in names]}
    )
    rig.host.guests[rig.uuid()] = ADDRESS
    rig.agent.reconciler.look_at_git()
    steps(rig)
    assert len(rig.downloads) == THREADS["imports"]
    assert rig.vm()["status"]["ipAddress"] == "10.0.2.15"


@pytest.mark.mistakes
def test_a_question_that_failed_is_asked_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> GuestInfo:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(rig.host, "guest_info", fails)
    rig.host.guests[rig.uuid()] = ADDRESS
    steps(rig)
    assert rig.vm()["status"]["ipAddress"] == "10.0.2.15"
