"""A machine whose QEMU process does not answer, on a host where nobody has read it before."""

from __future__ import annotations

import pytest

from tests.rig import OPERATIONS, STATUS, Rig, condition, disk, machine, operation


@pytest.fixture
def mute(rig: Rig) -> Rig:
    """`vm` runs and does not answer; the agent has just been started."""
    rig.push(
        {
            "vm.yaml": [machine(), disk()],
            "other.yaml": [machine("other", disks=("two",)), disk("two")],
        }
    )
    rig.settle()
    rig.agent.close()
    rig.host.mute.add(rig.uuid())
    rig.agent = rig.start()
    rig.verbs()
    return rig


def test_nothing_is_done_about_it_until_it_answers(mute: Rig) -> None:
    mute.push({"vm.yaml": [machine(cpu={"cores": 2}), disk()]})
    mute.settle()
    told = condition(mute.vm(), "Running")
    assert (told["status"], told["reason"]) == ("Unknown", "NotResponding")
    assert "virsh destroy" in told["message"]
    assert mute.vm()["status"]["phase"] == "Running"
    assert mute.verbs() == []
    mute.host.mute.clear()
    mute.now += 10
    mute.settle()
    assert condition(mute.vm(), "Running")["status"] == "True"
    assert [change["path"] for change in mute.vm()["status"]["restartAwaitingChanges"]] == [
        "cpu.cores"
    ]


def test_others_go_on(mute: Rig) -> None:
    mute.push(
        {"other.yaml": [machine("other", disks=("two",), runPolicy="AlwaysOff"), disk("two")]}
    )
    mute.settle()
    assert not mute.running("other")


def test_nobody_else_opens_its_disk_and_it_is_not_erased(mute: Rig) -> None:
    mute.push({"vm.yaml": disk(), "thief.yaml": machine("thief")})
    mute.settle()
    assert not mute.running("thief")
    assert (
        "is in use by VirtualMachine default/vm"
        in condition(mute.vm("thief"), "BlockDevicesReady")["message"]
    )
    assert mute.vm()["status"]["phase"] == "Terminating"
    assert not {"delete_volume", "undefine", "destroy", "shutdown"} & set(mute.verbs())


def test_what_was_asked_of_it_stays_as_it_was_known(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    rig.host.guest_obeys = False
    rig.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    path = "namespaces/default/virtualmachineoperations/stop.yaml"
    rig.agent.reconciler.look_at_git()
    while (
        path not in rig.documents()
        or rig.vmop("stop").get("status", {}).get("phase") != "InProgress"
    ):
        rig.step()
    rig.agent.close()
    rig.host.mute.add(rig.uuid())
    rig.agent = rig.start()
    rig.settle()
    assert rig.vmop("stop")["status"]["phase"] == "InProgress"


def test_with_a_lost_ledger_it_is_taken_in_once_it_answers(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    uid, instance = rig.vm()["metadata"]["uid"], rig.memory(active=True).instance
    rig.agent.close()
    del rig.repo.refs[STATUS]  # type: ignore[attr-defined]
    rig.host.mute.add(rig.uuid())
    rig.push({"new.yaml": [machine("new", disks=("own",)), disk("own")]})
    rig.agent = rig.start()
    rig.verbs()
    rig.settle()
    assert rig.running("new")
    assert "namespaces/default/virtualmachines/vm.yaml" not in rig.documents()
    assert "does not answer" in rig.documents()["problems.yaml"].decode()
    rig.host.mute.clear()
    rig.now += 10
    rig.settle()
    assert rig.vm()["metadata"]["uid"] == uid
    assert rig.memory(active=True).instance == instance
    assert "does not answer" not in rig.documents()["problems.yaml"].decode()
