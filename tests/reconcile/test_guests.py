"""Guests are asked until they have an address: their network comes up after their agent."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from agent.core.host import GuestInfo
from agent.reconcile.guests import SETTLED, Guests
from tests.rig import Rig, disk, machine

DOMAIN = ("node", "uuid")
ADDRESS = GuestInfo(os={"id": "test"}, addresses={"52:00:00:00:00:01": ("fe80::1", "10.0.2.15")})
NONE_YET = GuestInfo(os={"id": "test"}, addresses={"52:00:00:00:00:01": ("fe80::1",)})


def test_a_guest_without_an_address_is_asked_again_ever_more_seldom() -> None:
    guests = Guests()
    assert guests.take_due(0.0) == []
    guests.opened(DOMAIN, 0.0)
    asked = []
    for second in range(200):
        if guests.take_due(float(second)):
            asked.append(second)
            guests.answered(DOMAIN, NONE_YET, float(second))
    assert asked[:6] == [0, 1, 3, 7, 15, 31]
    assert asked[-1] - asked[-2] == 60


def test_a_guest_that_said_all_is_left_alone_for_a_while() -> None:
    guests = Guests()
    guests.opened(DOMAIN, 0.0)
    assert guests.take_due(0.0) == [DOMAIN]
    guests.answered(DOMAIN, ADDRESS, 0.5)
    guests.opened(DOMAIN, 1.0)
    assert guests.take_due(SETTLED) == []
    assert guests.take_due(SETTLED + 0.5) == [DOMAIN]
    guests.closed(DOMAIN)
    assert guests.take_due(10 * SETTLED) == []


def test_an_address_that_comes_later_is_shown(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    rig.host.guests[rig.uuid()] = NONE_YET

    def connect(root: etree._Element) -> None:
        target = root.find("devices/channel/target")
        assert target is not None
        target.set("state", "connected")

    rig.host.edit(rig.uuid(), connect, live=True)
    rig.settle()
    assert rig.vm()["status"].get("ipAddress") is None
    rig.host.guests[rig.uuid()] = ADDRESS
    for _ in range(8):
        rig.now += 2
        rig.step()
    assert rig.vm()["status"]["ipAddress"] == "10.0.2.15"
