"""Snapshots by a machine's schedule: one a slot, whoever acts and however often, and no more kept than asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.core.host import GuestInfo
from tests.memory_host import Killed
from tests.product.test_machine_snapshots import FOLDER, kept, parts, snapshot
from tests.rig import Rig, condition, disk, machine

DAY = 86400.0
SCHEDULE = "gitvirt.io/snapshot-schedule"


def scheduled(text: str = "0 3 * * *; keep 2", **more: str) -> dict[str, Any]:
    return machine(metadata={"annotations": {SCHEDULE: text, **more}})


def names(rig: Rig) -> list[str]:
    paths = (path for path in rig.documents() if path.startswith(FOLDER))
    return sorted(rig.document(path)["metadata"]["name"] for path in paths)


def slots(rig: Rig) -> list[str]:
    """Day and time of those that the schedule has made."""
    return [name[3:16] for name in names(rig) if name.startswith("vm-2")]


def until(rig: Rig, text: str) -> None:
    """Let time go on, with an agent that is there."""
    end = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    while rig.now < end:
        rig.now = min(rig.now + 3600, end)
        rig.settle()


@pytest.fixture
def up(rig: Rig) -> Rig:
    rig.push({"vm.yaml": scheduled(), "disk.yaml": disk()})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.settle()
    return rig


def test_each_slot_has_one_and_the_oldest_go_for_good(up: Rig) -> None:
    assert slots(up) == []  # a slot that was over before is nobody's
    until(up, "2023-11-15 03:01")
    assert slots(up) == ["20231115-0300"]
    until(up, "2023-11-15 20:00")
    assert slots(up) == ["20231115-0300"]
    until(up, "2023-11-16 03:00")
    assert slots(up) == ["20231115-0300", "20231116-0300"]
    until(up, "2023-11-17 04:00")
    assert slots(up) == ["20231116-0300", "20231117-0300"]
    assert len(kept(up)) == len(parts(up)) == 2
    assert not [path for path in up.documents() if path.startswith("trash/")]
    assert len(up.host.freezes) == 3
    assert up.vm()["status"]["snapshotSchedule"] == {
        "lastSlot": "2023-11-17T03:00:00Z",
        "schedule": "0 3 * * *",
    }


def test_slots_that_were_missed_are_made_up_for_once(up: Rig) -> None:
    until(up, "2023-11-15 03:01")
    up.now += 5 * DAY
    up.start("another")
    up.settle()
    assert slots(up) == ["20231115-0300", "20231120-0300"]


def test_a_slot_is_counted_in_its_zone(rig: Rig) -> None:
    rig.push({"vm.yaml": scheduled("CRON_TZ=Asia/Tokyo 0 3 * * *; keep 2"), "disk.yaml": disk()})
    rig.settle()
    until(rig, "2023-11-15 18:01")
    assert slots(rig) == ["20231115-1800"]


def test_what_people_made_is_not_pruned(up: Rig) -> None:
    up.push({"snap.yaml": snapshot("by-hand")})
    up.settle()
    until(up, "2023-11-19 04:00")
    assert len(slots(up)) == 2
    assert "by-hand" in names(up)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_slot_is_taken_once_whenever_the_agent_is_killed(up: Rig, phase: str) -> None:
    day = 15
    for number in range(1, 9):
        count = [0]

        def kill(_verb: str, when: str, number: int = number, count: list[int] = count) -> None:
            count[0] += when == phase
            if count[0] == number and when == phase:
                raise Killed

        until(up, f"2023-11-{day} 02:59")
        up.host.on_effect = kill
        up.now += 120
        try:
            up.settle()
        except Killed:
            up.host.on_effect = lambda _verb, _phase: None
            up.start("another" if number % 2 else "agent")
            up.settle()
        up.host.on_effect = lambda _verb, _phase: None
        until(up, f"2023-11-{day} 04:00")
        assert slots(up)[-1] == f"202311{day}-0300"
        assert len(slots(up)) == len(kept(up)) == min(number, 2)
        day += 1


def test_a_slot_without_space_is_told_and_left_out(up: Rig) -> None:
    until(up, "2023-11-15 03:01")
    up.host.free = 1000
    until(up, "2023-11-16 03:01")
    told = condition(up.vm(), "SnapshotsScheduled")
    assert (told["status"], told["reason"]) == ("False", "SlotSkipped")
    assert "free" in told["message"]
    assert up.running()
    assert len(kept(up)) == 1
    up.host.free = 1 << 40
    until(up, "2023-11-17 03:01")
    assert slots(up) == ["20231115-0300", "20231117-0300"]
    assert condition(up.vm(), "SnapshotsScheduled") == {}


def test_a_guest_without_an_agent_has_snapshots_all_the_same(up: Rig) -> None:
    up.host.guests.clear()
    until(up, "2023-11-15 03:01")
    (name,) = names(up)
    status = up.document(f"{FOLDER}/{name}.yaml")["status"]
    assert status["phase"] == "Ready"
    assert "consistent" not in status


def test_a_suspended_machine_has_none_until_it_goes_on(up: Rig) -> None:
    up.push({"vm.yaml": scheduled(**{"gitvirt.io/reconcile": "disabled"})})
    until(up, "2023-11-16 04:00")
    assert slots(up) == []
    up.push({"vm.yaml": scheduled()})
    up.settle()
    assert slots(up) == ["20231116-0300"]


def test_the_machines_end_sends_them_to_the_trash(up: Rig) -> None:
    until(up, "2023-11-15 03:01")
    up.push({"vm.yaml": None})
    up.settle()
    assert names(up) == []
    assert len(kept(up)) == 1
    up.now += 8 * DAY
    up.settle()
    assert kept(up) == {}


def test_a_schedule_that_is_none_leaves_the_last_good_one(up: Rig) -> None:
    up.push({"vm.yaml": scheduled("sometimes")})
    summary = up.settle()
    (problem,) = summary.problems
    assert SCHEDULE in problem.path
    until(up, "2023-11-15 03:01")
    assert slots(up) == ["20231115-0300"]
