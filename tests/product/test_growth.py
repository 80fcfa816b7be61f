"""A disk grows while a machine has it open, and never shrinks; what cannot grow says why."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from agent.core.host import HostError, RawVolume
from agent.core.identity import POOL
from tests.memory_host import Job, Killed
from tests.rig import Rig, condition, disk, machine

DISK = "namespaces/default/virtualdisks/root.yaml"
SUSPENDED = {"annotations": {"gitvirt.io/reconcile": "disabled"}}


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": machine(), "disk.yaml": disk()})
    rig.settle()
    rig.verbs()
    return rig


def grow(rig: Rig, size: str = "2Gi") -> None:
    rig.push({"disk.yaml": disk(size=size)})
    rig.settle()


def capacity(rig: Rig) -> int:
    (volume,) = (at for name, at in rig.host.pools[POOL].items() if "_disk_" in name)
    return volume.capacity >> 30


def told(rig: Rig) -> str:
    """Why it does not grow."""
    shown = condition(rig.document(DISK), "Resizing")
    assert (shown["status"], shown["reason"]) == ("False", "NotAvailable")
    return str(shown["message"])


def resized(rig: Rig, instance: str) -> None:
    """It has grown, and nobody was disturbed."""
    status = rig.document(DISK)["status"]
    assert (status["phase"], status["capacity"], capacity(rig)) == ("Ready", "2Gi", 2)
    assert "Resizing" not in [each["type"] for each in status["conditions"]]
    assert rig.running()
    assert rig.memory(active=True).instance == instance


def test_an_open_disk_grows_and_its_machine_runs_on(on: Rig) -> None:
    instance = on.memory(active=True).instance
    grow(on)
    resized(on, instance)
    assert on.verbs() == ["grow_disk"]
    on.start("another")
    on.now += 1000
    on.settle()
    assert on.verbs() == []


def test_an_open_disk_never_shrinks(on: Rig) -> None:
    grow(on, "512Mi")
    assert "cannot shrink" in told(on)
    assert (on.verbs(), capacity(on)) == ([], 1)


@pytest.mark.parametrize("heir", ["agent", "another"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_growth_survives_a_kill(on: Rig, when: str, heir: str) -> None:
    instance = on.memory(active=True).instance

    def kill(verb: str, phase: str) -> None:
        if (verb, phase) == ("grow_disk", when):
            raise Killed

    on.host.on_effect = kill
    with pytest.raises(Killed):
        grow(on)
    on.host.on_effect = lambda _verb, _phase: None
    on.start(heir)
    on.settle()
    resized(on, instance)
    assert on.verbs() == ["grow_disk"]


def test_growth_that_fails_is_told_and_tried_again(on: Rig) -> None:
    instance = on.memory(active=True).instance
    failing = True

    def fail(verb: str, phase: str) -> None:
        if failing and (verb, phase) == ("grow_disk", "before"):
            raise HostError("HypervisorError", "this image has snapshots")

    on.host.on_effect = fail
    on.push({"disk.yaml": disk(size="2Gi")})
    on.agent.reconciler.look_at_git()
    for _ in range(6):
        on.step()
    assert told(on) == "this image has snapshots."
    assert on.document(DISK)["status"]["phase"] == "Ready"
    failing = False
    on.now += 600
    on.settle()
    resized(on, instance)


def test_a_copy_by_hand_is_not_disturbed(on: Rig) -> None:
    instance = on.memory(active=True).instance

    def begins(root: etree._Element) -> None:
        etree.SubElement(root.findall("devices/disk")[0], "mirror", job="copy")

    def ends(root: etree._Element) -> None:
        found = root.findall("devices/disk")[0]
        found.remove(found.find("mirror"))  # type: ignore[arg-type]

    on.host.edit(on.uuid(), begins, live=True)
    grow(on)
    assert "copies or merges a disk of VirtualMachine default/vm" in told(on)
    assert on.verbs() == []
    on.host.edit(on.uuid(), ends, live=True)
    on.settle()
    resized(on, instance)


def test_a_backup_by_hand_is_not_disturbed(on: Rig) -> None:
    """Which the definition does not show."""
    instance = on.memory(active=True).instance
    on.host.jobs[on.uuid()] = Job(())
    on.push({"disk.yaml": disk(size="2Gi")})
    on.agent.reconciler.look_at_git()
    for _ in range(6):
        on.step()
    assert "somebody copies a disk" in told(on)
    assert capacity(on) == 1
    on.host.job_ends(on.uuid())
    on.now += 600
    on.settle()
    resized(on, instance)


@pytest.mark.parametrize("which", ["vm", "disk"])
def test_what_is_suspended_does_not_grow(on: Rig, which: str) -> None:
    instance = on.memory(active=True).instance
    metadata = {"name": "root", **SUSPENDED}
    still: dict[str, Any] = {"vm.yaml": machine(metadata=SUSPENDED)}
    if which == "disk":
        still = {"disk.yaml": {**disk(size="2Gi"), "metadata": metadata}}
    on.push({"disk.yaml": disk(size="2Gi"), **still})
    on.settle()
    assert capacity(on) == 1
    if which == "vm":
        assert "VirtualMachine default/vm is suspended" in told(on)
    on.push({"disk.yaml": disk(size="2Gi"), "vm.yaml": machine()})
    on.settle()
    resized(on, instance)


def test_a_machine_that_stops_meanwhile_leaves_it_to_be_resized(on: Rig) -> None:
    def fail(verb: str, phase: str) -> None:
        if (verb, phase) == ("grow_disk", "before"):
            raise HostError("HypervisorError", "not now")

    on.host.on_effect = fail
    on.push({"disk.yaml": disk(size="2Gi")})
    on.agent.reconciler.look_at_git()
    for _ in range(4):
        on.step()
    on.push({"vm.yaml": machine(runPolicy="AlwaysOff")})
    on.settle()
    assert not on.running()
    assert (on.verbs()[-1], capacity(on)) == ("resize_volume", 2)


def test_two_disks_grow_and_one_that_cannot_keeps_nothing_else_waiting(rig: Rig) -> None:
    names = ("root", "data", "more")
    rig.push({"vm.yaml": machine(disks=names), **{f"{name}.yaml": disk(name) for name in names}})
    rig.settle()
    broken = rig.host.grow_disk

    def grow_disk(uuid: str, pool: str, name: str, capacity: int) -> RawVolume:
        if "_data_" in name:
            raise HostError("HypervisorError", "broken")
        return broken(uuid, pool, name, capacity)

    rig.host.grow_disk = grow_disk  # type: ignore[method-assign]
    rig.push({f"{name}.yaml": disk(name, "2Gi") for name in names})
    rig.agent.reconciler.look_at_git()
    for _ in range(12):
        rig.step()
    sizes = {
        name: rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["status"]["capacity"]
        for name in names
    }
    assert sizes == {"root": "2Gi", "data": "1Gi", "more": "2Gi"}
