"""The status branch is lost: snapshots are found again from what hosts hold, or told of and left alone."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.host import GuestInfo
from agent.core.identity import POOL
from tests.memory_repository import MemoryRepository
from tests.product.test_machine_snapshots import kept, parts, shown, snapshot, status
from tests.product.test_schedule import scheduled, slots, until
from tests.rig import OPERATIONS, STATUS, Rig, condition, disk, machine, manifest, operation


@pytest.fixture
def taken(rig: Rig) -> Rig:
    """A machine with a snapshot of each sort, all of them with data of their own."""
    rig.push({"vm.yaml": [machine(disks=("root", "data")), disk(), disk("data")]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    one = manifest("VirtualDiskSnapshot", "one", {"virtualDiskName": "data"})
    rig.push({"snap.yaml": snapshot(), "one.yaml": one})
    rig.settle()
    for number, name in enumerate(sorted(kept(rig))):
        rig.host.pools[POOL][name].content = b"of then %d" % number
    rig.verbs()
    return rig


def lose(rig: Rig) -> None:
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[STATUS]
    rig.start()
    rig.settle()


def problems(rig: Rig) -> str:
    found: bytes = rig.documents()["problems.yaml"]
    return found.decode()


def test_they_are_found_again_with_what_they_hold(taken: Rig) -> None:
    before, uid = kept(taken), shown(taken)["metadata"]["uid"]
    names = status(taken)["virtualDiskSnapshotNames"]
    lose(taken)
    assert shown(taken)["metadata"]["uid"] == uid
    assert status(taken)["phase"] == "Ready"
    assert status(taken)["virtualDiskSnapshotNames"] == names
    told = condition(shown(taken), "VirtualMachineSnapshotReady")
    assert "found again after the status branch was lost" in told["message"]
    assert {part["status"]["phase"] for part in parts(taken).values()} == {"Ready"}
    assert len(parts(taken)) == 3
    assert kept(taken) == before
    assert "begin_backup" not in taken.verbs()
    assert problems(taken) == "[]\n"
    taken.now += 100
    taken.settle()
    assert condition(shown(taken), "VirtualMachineSnapshotReady") == told


def test_a_disk_that_came_later_is_not_taken_into_it(taken: Rig) -> None:
    before, uid = kept(taken), shown(taken)["metadata"]["uid"]
    vm = machine(disks=("root", "data", "later"))
    taken.push({"vm.yaml": [vm, disk(), disk("data"), disk("later")]})
    taken.push({"r.yaml": operation("r", "vm", "Restart")}, OPERATIONS)
    taken.settle()
    taken.verbs()
    lose(taken)
    assert status(taken)["phase"] == "Ready"
    assert status(taken)["virtualDiskSnapshotNames"] == [f"root-{uid}", f"data-{uid}"]
    assert kept(taken) == before
    assert "begin_backup" not in taken.verbs()


def test_one_that_was_found_again_is_restored_and_cloned(taken: Rig) -> None:
    lose(taken)
    what = {"mode": "Strict", "virtualMachineSnapshotName": "snap"}
    taken.push({"back.yaml": operation("back", "vm", "Restore", restore=what)}, OPERATIONS)
    taken.settle()
    assert taken.vmop("back")["status"]["phase"] == "Completed"
    how = {"mode": "Strict", "customization": {"namePrefix": "new-"}}
    spec = {"type": "CreateVirtualMachine", "virtualMachineSnapshotName": "snap"}
    asked = manifest(
        "VirtualMachineSnapshotOperation", "make", {**spec, "createVirtualMachine": how}
    )
    taken.push({"make.yaml": asked}, OPERATIONS)
    taken.settle()
    assert "refs/heads/clone/default/new-vm" in taken.repo.fetch()


def test_what_has_no_manifest_any_more_is_told_of_and_stays(taken: Rig) -> None:
    before = kept(taken)
    taken.push({"snap.yaml": None, "one.yaml": None})
    lose(taken)
    assert parts(taken) == {}
    for name in before:
        assert f"Volume {POOL}/{name}" in problems(taken)
        assert f"virsh vol-delete {name} {POOL}" in " ".join(problems(taken).split())
    taken.now += 30 * 86400
    taken.settle()
    assert kept(taken) == before
    for name in before:
        del taken.host.pools[POOL][name]
    taken.now += 600
    taken.settle()
    assert problems(taken) == "[]\n"


def test_of_two_that_bore_one_name_neither_is_guessed(taken: Rig) -> None:
    taken.push({"snap.yaml": None})
    taken.settle()
    other = snapshot(requiredConsistency=False)
    taken.push({"snap.yaml": other})
    taken.settle()
    before = kept(taken)
    assert len(before) == 5
    lose(taken)
    assert before.items() <= kept(taken).items()
    assert problems(taken).count("resource: Volume") == 4


def test_nothing_is_told_of_what_is_known(taken: Rig) -> None:
    taken.push({"snap.yaml": None})
    taken.settle()
    taken.now += 100
    taken.settle()
    assert problems(taken) == "[]\n"
    taken.now += 8 * 86400
    taken.settle()
    taken.settle()
    found: Any = kept(taken)
    assert len(found) == 1
    assert problems(taken) == "[]\n"


def test_those_of_a_schedule_are_found_again(rig: Rig) -> None:
    rig.push({"vm.yaml": [scheduled("0 3 * * *; keep 3"), disk()]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.settle()
    until(rig, "2023-11-18 04:00")
    before, names = kept(rig), slots(rig)
    assert len(before) == len(names) == 3
    lose(rig)
    assert slots(rig) == names
    assert kept(rig) == before
    assert problems(rig) == "[]\n"
    rig.host.guests[rig.uuid()] = GuestInfo()
    until(rig, "2023-11-19 04:00")
    assert slots(rig) == [*names[1:], "20231119-0300"]
    assert len(kept(rig)) == 3
