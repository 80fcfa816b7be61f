"""A disk whose class changes moves to that class's pool, and nothing of it is ever lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.host import HostError
from agent.core.identity import disk_volume, serial
from agent.core.model import Key
from tests.memory_host import Killed, MemoryHost, Volume
from tests.memory_repository import MemoryRepository
from tests.plans import planned
from tests.product.test_storage_classes import (
    GITVIRT,
    PATH,
    POOLS,
    VMS,
    in_class,
    source,
    storage_class,
)
from tests.rig import OPERATIONS, START, STATUS, Rig, condition, disk, machine, operation

DAY = 86400.0
CLASSES = [storage_class("slow", GITVIRT), storage_class()]


def name(rig: Rig, number: int) -> str:
    uid = rig.document(PATH)["metadata"]["uid"]
    return disk_volume("default", Key("VirtualDisk", "default", "data"), uid, number=number)


def off(policy: str = "Manual") -> dict[str, Any]:
    return machine(disks=("data",), runPolicy=policy)


def move(rig: Rig, its_class: str = "fast") -> None:
    rig.push({"disk.yaml": in_class(its_class)})


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    host = MemoryHost()
    host.pools[VMS] = {}
    return Rig(tmp_path, host, pools=POOLS)


@pytest.fixture
def made(rig: Rig) -> Rig:
    """A disk with data in the class slow, and no machine."""
    rig.push({"classes.yaml": CLASSES, "disk.yaml": in_class("slow")})
    rig.settle()
    rig.host.pools[GITVIRT][name(rig, 0)].content = b"data"
    rig.verbs()
    return rig


@pytest.fixture
def with_machine(made: Rig) -> Rig:
    """The same with a machine that is off."""
    made.push({"vm.yaml": off()})
    made.settle()
    assert not made.running()
    made.verbs()
    return made


def trash(rig: Rig) -> list[dict[str, Any]]:
    return [rig.document(path) for path in rig.documents() if path.startswith("trash/")]


def moved(rig: Rig) -> None:
    """All that is true of a disk that has moved once from gitvirt to vms."""
    status = rig.document(PATH)["status"]
    assert (status["phase"], status["storageClassName"]) == ("Ready", "fast")
    assert status["volume"] == {"pool": VMS, "name": name(rig, 1), "format": "qcow2"}
    assert status["migrationState"]["result"] == "Succeeded"
    assert status["migrationState"]["sourcePVC"] == name(rig, 0)
    assert status["migrationState"]["targetPVC"] == name(rig, 1)
    assert condition(rig.document(PATH), "Migrating") == {}
    assert rig.host.pools[VMS][name(rig, 1)].content == b"data"
    assert set(rig.host.pools[VMS]) == {name(rig, 1)}
    assert rig.host.pools[GITVIRT][name(rig, 0)].content == b"data"
    (entry,) = trash(rig)
    assert entry["status"]["volume"] == {"pool": GITVIRT, "name": name(rig, 0), "format": "qcow2"}


def test_a_disk_without_a_machine_moves_as_a_copy(made: Rig) -> None:
    rig = made
    move(rig)
    assert rig.settle().wrong == ()
    moved(rig)
    rig.verbs()
    rig.start()  # another agent finds nothing to do
    rig.settle()
    assert rig.verbs() == []


def test_the_definition_of_a_machine_that_is_off_goes_over_and_it_starts_there(
    with_machine: Rig,
) -> None:
    rig = with_machine
    move(rig)
    assert rig.settle().wrong == ()
    moved(rig)
    assert source(rig).endswith(f"/{VMS}/{name(rig, 1)}")
    assert condition(rig.vm(), "DriftDetected") == {}
    rig.push({"vm.yaml": off("AlwaysOn")})
    rig.settle()
    assert rig.running()
    assert "restartAwaitingChanges" not in rig.vm()["status"]


def test_the_old_volume_is_erased_after_its_time_and_the_disk_is_not(with_machine: Rig) -> None:
    rig = with_machine
    move(rig)
    rig.settle()
    rig.now = START + 8 * DAY
    rig.settle()
    assert trash(rig) == []
    assert not any("_disk_" in each for each in rig.host.pools[GITVIRT])
    assert rig.host.pools[VMS][name(rig, 1)].content == b"data"
    assert rig.document(PATH)["status"]["phase"] == "Ready"


def test_it_moves_back_to_a_volume_of_its_own(with_machine: Rig) -> None:
    rig = with_machine
    move(rig)
    rig.settle()
    rig.host.pools[VMS][name(rig, 1)].content = b"newer"
    move(rig, "slow")
    rig.settle()
    assert rig.host.pools[GITVIRT][name(rig, 2)].content == b"newer"
    assert rig.host.pools[GITVIRT][name(rig, 0)].content == b"data"
    assert len(trash(rig)) == 2
    assert source(rig).endswith(name(rig, 2))


def test_a_class_of_the_same_pool_moves_nothing(made: Rig) -> None:
    rig = made
    rig.push({"same.yaml": storage_class("same", GITVIRT)})
    move(rig, "same")
    rig.settle()
    assert rig.verbs() == []
    assert rig.document(PATH)["status"]["storageClassName"] == "same"
    assert "migrationState" not in rig.document(PATH)["status"]


def test_a_class_that_is_not_there_moves_nothing_and_says_so(with_machine: Rig) -> None:
    rig = with_machine
    move(rig, "missing")
    rig.settle()
    told = condition(rig.document(PATH), "Migrating")
    assert (told["status"], told["reason"]) == ("False", "StorageClassNotFound")
    assert "StorageClass missing is not there" in told["message"]
    assert rig.document(PATH)["status"]["phase"] == "Ready"
    rig.push({"vm.yaml": off("AlwaysOn")})
    rig.settle()
    assert rig.running()


def test_a_deleted_disk_comes_back_from_where_it_has_moved_to(made: Rig) -> None:
    rig = made
    move(rig)
    rig.settle()
    before = name(rig, 1)
    rig.push({"disk.yaml": None})
    rig.settle()
    assert len(trash(rig)) == 2
    move(rig)
    rig.settle()
    assert name(rig, 1) == before
    assert rig.document(PATH)["status"]["volume"]["pool"] == VMS
    assert len(trash(rig)) == 1


def test_what_was_left_is_no_disk_of_a_later_manifest(made: Rig) -> None:
    rig = made
    move(rig)
    rig.settle()
    old = name(rig, 0)
    rig.push({"disk.yaml": None, "other.yaml": in_class("slow", "other")})
    rig.settle()
    path = rig.host.pools[GITVIRT][old].path
    rig.host.pools[GITVIRT]["theirs.qcow2"] = Volume("/theirs.qcow2", 1, backing_path=path)
    rig.now = START + 9 * DAY
    rig.settle()
    assert [entry["status"]["retired"] for entry in trash(rig)] == [True]  # somebody uses it
    rig.push({"disk.yaml": in_class("slow")})
    rig.settle()
    assert name(rig, 0) != old
    assert rig.host.pools[GITVIRT][old].content == b"data"


@pytest.mark.parametrize("machine_there", [False, True], ids=["alone", "with-machine"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_agent_that_is_killed_anywhere_loses_nothing(
    made: Rig, phase: str, machine_there: bool
) -> None:
    rig = made
    if machine_there:
        rig.push({"vm.yaml": off()})
        rig.settle()
    deaths = 0

    def kill(verb: str, when: str) -> None:
        nonlocal deaths
        if when == phase and (deaths, verb) not in seen and len(seen) < 30:
            seen.add((deaths, verb))
            deaths += 1
            raise Killed

    seen: set[tuple[int, str]] = set()
    rig.host.on_effect = kill
    move(rig)
    for _ in range(40):
        try:
            rig.settle()
        except Killed:
            rig.start()
        else:
            break
        if deaths >= 12:
            rig.host.on_effect = lambda _verb, _when: None
    assert deaths >= 3
    moved(rig)


def test_a_start_by_hand_makes_the_copy_worthless(with_machine: Rig) -> None:
    """The machine is started and stopped before its definition goes over."""
    rig = with_machine
    written = False

    def interfere(verb: str, when: str) -> None:
        nonlocal written
        if (verb, when) == ("copy_volume", "after") and not written:
            written = True
            rig.host.start(rig.uuid())
            rig.host.pools[GITVIRT][name(rig, 0)].content = b"newer"

    rig.host.on_effect = interfere
    move(rig)
    rig.settle()
    assert written
    assert rig.running()  # and so it moved while it ran
    assert rig.host.pools[VMS][name(rig, 1)].content == b"newer"
    assert source(rig).endswith(name(rig, 1))


def test_a_pool_that_is_full_is_told_and_the_machine_starts_from_where_the_disk_is(
    with_machine: Rig,
) -> None:
    rig = with_machine

    def full(verb: str, when: str) -> None:
        if (verb, when) == ("copy_volume", "before"):
            raise HostError("NoSpace", "no space left in storage pool vms")

    rig.host.on_effect = full
    move(rig)
    rig.agent.reconciler.look_at_git()
    for _ in range(12):
        rig.step()
    told = condition(rig.document(PATH), "Migrating")
    assert told["reason"] == "WaitForTargetReady"
    assert "no space left" in told["message"]
    assert rig.document(PATH)["status"]["phase"] == "Ready"
    assert rig.host.pools[GITVIRT][name(rig, 0)].content == b"data"
    assert rig.host.pools[VMS] == {}
    rig.host.on_effect = lambda _verb, _when: None
    rig.settle()
    moved(rig)


def test_a_manifest_that_goes_back_gives_the_copy_up(with_machine: Rig) -> None:
    """Also one that is whole: the agent dies before it is the disk."""
    rig = with_machine

    def kill(verb: str, when: str) -> None:
        if (verb, when) == ("delete_volume", "after"):  # of the mark
            raise Killed

    rig.host.on_effect = kill
    move(rig)
    with pytest.raises(Killed):
        rig.settle()
    assert set(rig.host.pools[VMS]) == {name(rig, 1)}
    rig.host.on_effect = lambda _verb, _when: None
    move(rig, "slow")
    rig.start()
    rig.settle()
    status = rig.document(PATH)["status"]
    assert (status["phase"], status["storageClassName"]) == ("Ready", "slow")
    assert rig.host.pools[VMS] == {}
    assert trash(rig) == []
    assert source(rig).endswith(name(rig, 0))
    assert condition(rig.document(PATH), "Migrating") == {}


def test_a_disk_that_is_deleted_on_its_way_goes_to_the_trash_with_its_copy(made: Rig) -> None:
    rig = made

    def delete(verb: str, when: str) -> None:
        if (verb, when) == ("copy_volume", "before"):
            rig.push({"disk.yaml": None, "other.yaml": in_class("slow", "other")})
            rig.agent.reconciler.look_at_git()
            raise Killed

    rig.host.on_effect = delete
    move(rig)
    with pytest.raises(Killed):
        rig.settle()
    rig.host.on_effect = lambda _verb, _when: None
    rig.start()
    rig.settle()
    rig.now = START + 9 * DAY
    rig.settle()
    assert rig.host.pools[VMS] == {}
    assert trash(rig) == []


def test_a_lost_ledger_finds_the_disk_where_its_machine_has_it(with_machine: Rig) -> None:
    rig = with_machine
    move(rig)
    rig.settle()
    before = rig.document(PATH)
    rig.verbs()
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[STATUS]
    rig.start()
    rig.settle()
    after = rig.document(PATH)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["volume"] == before["status"]["volume"]
    assert rig.verbs() == []


def test_a_machine_that_is_asked_to_start_meanwhile_starts_with_the_copy(
    with_machine: Rig,
) -> None:
    rig = with_machine

    def start(verb: str, when: str) -> None:
        if (verb, when) == ("copy_volume", "before"):
            rig.host.on_effect = lambda _verb, _when: None
            rig.push({"op.yaml": operation("start", "vm", "Start")}, "refs/heads/operations")
            rig.agent.reconciler.look_at_git()

    rig.host.on_effect = start
    move(rig)
    rig.settle()
    assert rig.running()
    moved(rig)


def test_a_suspended_machine_keeps_its_definition_and_the_disk_waits(with_machine: Rig) -> None:
    rig = with_machine
    vm = off()
    vm["metadata"]["annotations"] = {"gitvirt.io/reconcile": "disabled"}
    rig.push({"vm.yaml": vm})
    rig.settle()
    move(rig)
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()
    assert source(rig).endswith(name(rig, 0))
    assert rig.host.pools[GITVIRT][name(rig, 0)].content == b"data"
    rig.push({"vm.yaml": off()})
    rig.settle()
    moved(rig)


@pytest.fixture
def running(made: Rig) -> Rig:
    """The same with a machine that runs."""
    made.push({"vm.yaml": off("AlwaysOn")})
    made.settle()
    assert made.running()
    made.verbs()
    return made


def instance(rig: Rig) -> str:
    return rig.memory(active=True).instance


def active_source(rig: Rig) -> str:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    found = parse(raw.active_xml).find("devices/disk[@device='disk']/source")
    assert found is not None
    return str(found.get("file"))


def go(rig: Rig, steps: int = 12) -> None:
    rig.agent.reconciler.look_at_git()
    for _ in range(steps):
        rig.step()


def test_the_disk_of_a_machine_that_runs_moves_under_it(running: Rig) -> None:
    rig = running
    before = instance(rig)
    move(rig)
    assert rig.settle().wrong == ()
    moved(rig)
    assert instance(rig) == before  # never restarted
    assert active_source(rig) == source(rig)
    assert source(rig).endswith(f"/{VMS}/{name(rig, 1)}")
    assert condition(rig.vm(), "DriftDetected") == {}
    assert "restartAwaitingChanges" not in rig.vm()["status"]
    verbs = rig.verbs()
    assert verbs == ["create_volume", "copy_disk", "end_disk_copy"]
    rig.start()
    rig.settle()
    assert rig.verbs() == []


def test_while_it_is_copied_the_disk_says_so_and_its_machine_runs(running: Rig) -> None:
    rig = running
    rig.host.copies_held = True
    move(rig)
    go(rig)
    status = rig.document(PATH)["status"]
    assert (status["phase"], status["storageClassName"]) == ("Migrating", "slow")
    told = condition(rig.document(PATH), "Migrating")
    assert (told["status"], told["reason"]) == ("True", "InProgress")
    assert condition(rig.document(PATH), "Ready")["status"] == "True"
    assert rig.vm()["status"]["phase"] == "Running"
    rig.start()  # another agent goes on with it
    go(rig)
    assert rig.verbs() == ["create_volume", "copy_disk"]
    rig.host.copies_complete(rig.uuid())
    rig.settle()
    moved(rig)


def test_a_manifest_that_goes_back_ends_the_copy_of_an_open_disk(running: Rig) -> None:
    rig = running
    rig.host.copies_held = True
    move(rig)
    go(rig)
    move(rig, "slow")
    rig.settle()
    status = rig.document(PATH)["status"]
    assert (status["phase"], status["storageClassName"]) == ("Ready", "slow")
    assert status["migrationState"]["result"] == "Failed"
    assert rig.host.pools[VMS] == {}
    assert active_source(rig).endswith(name(rig, 0))
    assert trash(rig) == []
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    assert "<mirror" not in raw.active_xml


def test_a_machine_that_stops_meanwhile_moves_its_disk_off(running: Rig) -> None:
    rig = running
    rig.host.copies_held = True
    move(rig)
    go(rig)
    rig.push({"vm.yaml": off("AlwaysOff")})
    rig.settle()
    assert not rig.running()
    moved(rig)
    assert source(rig).endswith(name(rig, 1))


def test_a_copy_that_somebody_else_makes_is_left_and_waited_for(running: Rig) -> None:
    rig = running
    rig.host.copies_held = True
    rig.host.pools[GITVIRT]["backup.qcow2"] = Volume("/backup.qcow2", 1)
    theirs = "<disk type='file'><driver type='qcow2'/><source file='/backup.qcow2'/></disk>"
    uid = rig.document(PATH)["metadata"]["uid"]
    rig.host.copy_disk(rig.uuid(), serial(uid), theirs)
    rig.verbs()
    move(rig)
    go(rig)
    assert rig.verbs() == ["create_volume"]
    rig.host.copies_held = False
    rig.host.end_disk_copy(rig.uuid(), serial(uid), pivot=False)
    rig.settle()
    moved(rig)


def test_a_target_that_is_full_is_told_and_the_machine_runs_on(running: Rig) -> None:
    rig = running
    free, rig.host.free = rig.host.free, 0
    move(rig)
    go(rig)
    assert active_source(rig).endswith(name(rig, 0))
    assert rig.running()
    told = condition(rig.document(PATH), "Migrating")
    assert "free space in it or enlarge it" in told["message"]
    rig.host.free = free
    rig.settle()
    moved(rig)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_an_agent_that_is_killed_anywhere_moves_an_open_disk_once(running: Rig, phase: str) -> None:
    rig = running
    before, deaths = instance(rig), 0

    def kill(_verb: str, when: str) -> None:
        nonlocal deaths
        if when == phase and deaths < 8:
            deaths += 1
            raise Killed

    rig.host.on_effect = kill
    move(rig)
    for _ in range(20):
        try:
            rig.settle()
        except Killed:
            rig.start()
        else:
            break
    assert deaths >= 3
    moved(rig)
    assert instance(rig) == before


def test_a_copy_of_a_disk_that_its_machine_gives_up_is_given_up(running: Rig) -> None:
    """It waits for no restart, in which the machine lets go of the disk: nothing else of the machine could be done till then."""
    rig = running
    rig.host.copies_held = True
    move(rig)
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    assert "<mirror" in raw.active_xml
    rig.push({"vm.yaml": [disk("other"), machine(disks=("other",), runPolicy="AlwaysOn")]})
    rig.settle()
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    assert "<mirror" not in raw.active_xml
    assert condition(rig.document(PATH), "Migrating")["reason"] == "WaitForSourceVolumeRelease"
    rig.push({"r.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    assert rig.document(PATH)["status"]["volume"]["pool"] == VMS
    assert rig.host.pools[VMS][name(rig, 1)].content == b"data"


def test_a_plan_says_that_the_disk_is_copied_or_why_it_is_not(with_machine: Rig) -> None:
    rig = with_machine
    disk = planned(rig, {"disk.yaml": in_class("fast")})["data"]
    assert disk.actions == ["CopyVolume"]
    assert [change.path for change in disk.immediate] == ["persistentVolumeClaim.storageClassName"]
    assert not disk.reason
    rig.push({"vm.yaml": off("AlwaysOn")})
    rig.settle()
    found = planned(rig, {"disk.yaml": in_class("fast")})
    assert found["data"].actions == ["CreateVolume"]
    assert found["vm"].actions == ["BeginDiskCopy", "EndDiskCopy"]
    rig.push({"vm.yaml": off("AlwaysOff")})
    move(rig)
    rig.settle()
    assert planned(rig).report.items == []


def test_a_plan_makes_a_disk_in_a_pool_that_only_its_class_names(made: Rig) -> None:
    found = planned(made, {"new.yaml": [storage_class("big", "ssd"), in_class("big", "new")]})
    assert found["new"].actions == ["CreateVolume"]
    assert not found["new"].reason
