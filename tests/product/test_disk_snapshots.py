"""What a disk held at one moment is kept in a volume of its own: taken whole or not at all, and never twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.host import GuestInfo
from agent.core.identity import POOL, serial, snapshot_volume
from agent.core.model import Key
from agent.places import Pools
from tests.memory_host import NODE, MemoryHost
from tests.memory_repository import MemoryRepository
from tests.product.faults import killed_around
from tests.rig import STATUS, Rig, condition, disk, machine, manifest

THEIRS = "33333333-3333-4333-8333-333333333333"
READY = "VirtualDiskSnapshotReady"
BEFORE = "VirtualDiskReady"


def snapshot(name: str = "snap", of: str = "root", **spec: Any) -> dict[str, Any]:
    return manifest("VirtualDiskSnapshot", name, {"virtualDiskName": of, **spec})


def shown(rig: Rig, name: str = "snap") -> dict[str, Any]:
    return rig.document(f"namespaces/default/virtualdisksnapshots/{name}.yaml")


def volume(rig: Rig, name: str = "snap") -> str:
    key = Key("VirtualDiskSnapshot", "default", name)
    return snapshot_volume("default", key, shown(rig, name)["metadata"]["uid"])


def kept(rig: Rig) -> dict[str, bytes]:
    """The snapshots' volumes on the host, with what they hold."""
    return {
        name: at.content for name, at in rig.host.pools[POOL].items() if "_disksnapshot_" in name
    }


@pytest.fixture
def up(rig: Rig) -> Rig:
    """A machine that runs, with an agent in its guest."""
    rig.push({"vm.yaml": machine(), "disk.yaml": disk()})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.verbs()
    return rig


def test_a_disk_of_a_running_machine_is_kept_while_its_guest_is_frozen(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    status = shown(up)["status"]
    assert (status["phase"], status["consistent"]) == ("Ready", True)
    assert status["volumeSnapshotName"] == volume(up)
    assert condition(shown(up), READY)["status"] == "True"
    assert condition(shown(up), BEFORE)["status"] == "True"
    assert kept(up) == {volume(up): b"whole"}
    assert up.host.freezes == [(up.uuid(), True)]
    assert up.running()
    assert up.verbs() == [
        "end_backup",
        "create_volume",
        "create_volume",
        "begin_backup",
        "end_backup",
        "delete_volume",
    ]


def test_a_guest_that_cannot_be_frozen_has_no_consistent_snapshot(up: Rig) -> None:
    up.host.guests.clear()
    up.push({"snap.yaml": snapshot()})
    up.settle()
    status = shown(up)["status"]
    assert status["phase"] == "Failed"
    assert "consistent" not in status
    told = condition(shown(up), READY)
    assert (told["status"], told["reason"]) == ("False", "VirtualDiskSnapshotFailed")
    assert "guest agent" in told["message"]
    assert kept(up) == {}
    up.host.guests[up.uuid()] = GuestInfo()
    up.start()
    up.settle()
    assert shown(up)["status"]["phase"] == "Failed"


def test_consistency_that_nobody_asks_for_is_not_claimed(up: Rig) -> None:
    up.host.guests.clear()
    up.push({"snap.yaml": snapshot(requiredConsistency=False)})
    up.settle()
    status = shown(up)["status"]
    assert status["phase"] == "Ready"
    assert "consistent" not in status


def test_it_waits_for_a_disk_that_is_not_there(rig: Rig) -> None:
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    assert shown(rig)["status"]["phase"] == "Pending"
    told = condition(shown(rig), BEFORE)
    assert (told["status"], told["reason"]) == ("False", "VirtualDiskNotReadyForSnapshotting")
    assert condition(shown(rig), READY)["reason"] == "WaitingForTheVirtualDisk"


def test_a_snapshot_is_taken_once_whatever_comes_after(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.verbs()
    up.host.destroy(up.uuid())
    up.settle()
    up.start("another")
    up.settle()
    assert not {"begin_backup", "delete_volume"} & set(up.verbs())
    assert shown(up)["status"]["phase"] == "Ready"


def test_what_it_is_a_snapshot_of_cannot_be_changed(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.push({"snap.yaml": snapshot(of="other")})
    summary = up.settle()
    (problem,) = summary.problems
    assert problem.path == "spec.virtualDiskName"
    assert "cannot be changed" in problem.message


def test_a_job_that_an_agent_leaves_behind_goes_on_for_its_heir(up: Rig) -> None:
    up.host.jobs_held = True

    up.push({"snap.yaml": snapshot()})
    with killed_around(up.host, "begin_backup"):
        up.settle()
    name = next(name for name in kept(up) if not name.endswith("unfinished"))
    up.start("another")
    up.host.job_ends(up.uuid())
    up.host.jobs_held = False
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"
    assert kept(up) == {name: b"whole"}


def test_a_copy_that_was_cut_off_is_made_anew(up: Rig) -> None:
    """The job has ended while nobody looked: how, nobody knows."""
    up.host.jobs_held = True

    up.push({"snap.yaml": snapshot()})
    with killed_around(up.host, "begin_backup"):
        up.settle()
    up.host.job_ends(up.uuid(), "canceled")
    up.host.jobs_held = False
    up.start()
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"
    assert kept(up) == {volume(up): b"whole"}
    assert len(up.host.freezes) == 2


def test_somebody_elses_job_is_waited_for(up: Rig) -> None:
    up.host.begins(up.uuid())
    up.push({"snap.yaml": snapshot()})
    up.agent.reconciler.look_at_git()
    for _ in range(5):
        up.step()
    assert shown(up)["status"]["phase"] == "Pending"
    assert "somebody's job" in condition(shown(up), READY)["message"].lower()
    assert not up.host.freezes
    up.host.job_ends(up.uuid())
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"


def test_a_job_that_fails_leaves_nothing(up: Rig) -> None:
    def fail(verb: str, phase: str) -> None:
        if (verb, phase) == ("begin_backup", "after"):
            up.host.job_ends(up.uuid(), "No space left on device")

    up.host.jobs_held = True
    up.host.on_effect = fail
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert shown(up)["status"]["phase"] == "Failed"
    assert "No space left" in condition(shown(up), READY)["message"]
    assert kept(up) == {}
    assert up.running()


def test_a_pool_without_room_is_told_before_anything_is_begun(up: Rig) -> None:
    up.host.free = 1000
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert shown(up)["status"]["phase"] == "Failed"
    assert "free" in condition(shown(up), READY)["message"]
    assert up.host.freezes == []
    assert kept(up) == {}


def test_a_deleted_snapshot_comes_back_with_its_data(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    name = volume(up)
    up.push({"snap.yaml": None})
    up.settle()
    assert kept(up) == {name: b"whole"}
    assert "namespaces/default/virtualdisksnapshots/snap.yaml" not in up.documents()
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"
    assert shown(up)["status"]["consistent"] is True
    assert volume(up) == name
    assert len(up.host.freezes) == 1


def test_the_trash_erases_a_snapshot_once_its_time_is_over(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.push({"snap.yaml": None})
    up.settle()
    up.now += 8 * 86400
    up.settle()
    assert kept(up) == {}
    assert not [path for path in up.documents() if path.startswith("trash/")]


def test_a_snapshot_that_is_withdrawn_while_it_is_made_leaves_nothing(up: Rig) -> None:
    up.host.jobs_held = True

    up.push({"snap.yaml": snapshot()})
    with killed_around(up.host, "begin_backup"):
        up.settle()
    up.push({"snap.yaml": None})
    up.start()
    up.settle()
    assert kept(up) == {}
    assert not up.host.jobs[up.uuid()].running
    assert "namespaces/default/virtualdisksnapshots/snap.yaml" not in up.documents()


def test_a_disk_may_go_and_its_snapshots_stay(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.push({"vm.yaml": None, "disk.yaml": None})
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"
    up.now += 8 * 86400
    up.settle()
    assert kept(up) == {volume(up): b"whole"}


def test_a_snapshot_whose_volume_is_gone_is_lost_and_not_taken_again(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    name = volume(up)
    gone = up.host.pools[POOL].pop(name)
    up.now += 400
    up.start()
    up.settle()
    assert shown(up)["status"]["phase"] == "Failed"
    assert condition(shown(up), READY)["reason"] == "Lost"
    up.host.pools[POOL][name] = gone
    up.start()
    up.settle()
    assert shown(up)["status"]["phase"] == "Ready"


def test_a_lost_ledger_finds_its_snapshots_again(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    name = volume(up)
    repository = up.repo
    assert isinstance(repository, MemoryRepository)
    del repository.refs[STATUS]
    up.start("another")
    up.settle()
    assert volume(up) == name
    assert shown(up)["status"]["phase"] == "Ready"
    assert len(up.host.freezes) == 1


def test_a_disk_of_a_machine_that_is_off_is_copied(rig: Rig) -> None:
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOff"), "disk.yaml": disk()})
    rig.settle()
    source = next(at for name, at in rig.host.pools[POOL].items() if "_disk_" in name)
    source.content = b"data"
    rig.verbs()
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    assert shown(rig)["status"]["phase"] == "Ready"
    assert shown(rig)["status"]["consistent"] is True
    assert kept(rig) == {volume(rig): b"data"}
    assert rig.verbs() == ["create_volume", "copy_volume", "delete_volume"]


@pytest.mark.parametrize("verb", ["create_volume", "copy_volume", "delete_volume"])
def test_a_copy_that_is_cut_off_by_a_kill_is_made_anew(rig: Rig, verb: str) -> None:
    rig.push({"disk.yaml": disk()})
    rig.settle()
    source = next(at for name, at in rig.host.pools[POOL].items() if "_disk_" in name)
    source.content = b"data"
    for phase in ("before", "after"):
        name = f"{verb.replace('_', '-')}-{phase}"
        rig.push({f"{name}.yaml": snapshot(name)})
        with killed_around(rig.host, verb, phase):
            rig.settle()
        rig.start("another")
        rig.settle()
        assert shown(rig, name)["status"]["phase"] == "Ready"
        assert kept(rig)[volume(rig, name)] == b"data"
    assert not [name for name in kept(rig) if name.endswith("unfinished")]


def test_a_disk_that_another_node_opens_meanwhile_is_not_kept(tmp_path: Path) -> None:
    """With a pool that both have, which only the other one shows."""
    other = MemoryHost(node=replace(NODE, name="pt-2", host="another host"))
    rig = Rig(tmp_path, others=(other,), pools=Pools(shared=frozenset({POOL})))
    other.pools = rig.host.pools
    rig.push({"disk.yaml": disk()})
    rig.settle()
    (name,) = (each for each in rig.host.pools[POOL] if "_disk_" in each)
    number = serial(rig.document("namespaces/default/virtualdisks/root.yaml")["metadata"]["uid"])
    path = rig.host.pools[POOL][name].path
    theirs = (
        f"<domain><name>theirs</name><uuid>{THEIRS}</uuid><devices><disk type='file' device='disk'>"
        f"<source file='{path}'/><target dev='sda'/><serial>{number}</serial></disk></devices></domain>"
    )

    def opened(verb: str, when: str) -> None:
        if (verb, when) == ("copy_volume", "middle"):
            for host in rig.hosts.values():
                host.on_effect = lambda _verb, _when: None
            other.define(theirs)
            other.start(THEIRS)

    for host in rig.hosts.values():
        host.on_effect = opened
    rig.push({"snap.yaml": snapshot()})
    rig.agent.reconciler.look_at_git()
    for _ in range(20):
        rig.step()
    assert other.read_domain(THEIRS) is not None
    assert shown(rig)["status"]["phase"] == "Pending"
    assert kept(rig) == {}
