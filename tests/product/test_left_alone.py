"""What somebody has saved, as libvirt-guests does when a host goes down, or renamed: it is left alone, and so is all that it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.plans import planned
from tests.rig import Rig, condition, disk, machine

USER_DATA: dict[str, Any] = {
    "provisioning": {"type": "UserData", "userData": "#cloud-config\n{}\n"}
}


@pytest.fixture
def saved(rig: Rig) -> Rig:
    rig.push({"vm.yaml": machine(**USER_DATA), "disk.yaml": disk()})
    rig.settle()
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    rig.host._put(replace(raw, state="shutoff", reason="saved", active_xml="", managed_save=True))
    rig.host._tell(rig.uuid(), "lifecycle")
    rig.settle()
    rig.verbs()
    return rig


def test_nobody_else_gets_its_disk(saved: Rig) -> None:
    saved.push({"other.yaml": machine("other", runPolicy="AlwaysOn")})
    saved.settle()
    assert not saved.running("other")
    assert "in use by" in condition(saved.vm("other"), "BlockDevicesReady")["message"]


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_knows_that_a_start_would_go_on_from_the_saved_state(saved: Rig, live: bool) -> None:
    told = condition(saved.vm(), "Running")
    assert (told["status"], told["reason"]) == ("False", "Saved")
    automatic: dict[str, Any] = {
        "disruptions": {"restartApprovalMode": "Automatic"},
        "runPolicy": "AlwaysOn",
    }
    changed = machine(cpu={"cores": 4}, **automatic, **USER_DATA)
    found = planned(saved, {"vm.yaml": changed}, live=live)["vm"]
    assert "StartDomain" not in found.actions
    assert "ShutdownDomain" not in found.actions
    saved.push({"vm.yaml": changed})
    saved.settle()
    assert saved.verbs() == ["define"]


@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "another-agent"])
def test_nobody_else_gets_a_disk_that_only_the_saved_state_has(saved: Rig, restarted: bool) -> None:
    saved.push({"vm.yaml": machine(disks=("new",)), "new.yaml": disk("new")})
    saved.settle()
    if restarted:
        saved.start()
    saved.push({"other.yaml": machine("other", runPolicy="AlwaysOn")})
    saved.settle()
    assert not saved.running("other")
    assert "in use by" in condition(saved.vm("other"), "BlockDevicesReady")["message"]


def test_its_disk_does_not_grow(saved: Rig) -> None:
    saved.push({"disk.yaml": disk(size="2Gi")})
    saved.settle()
    assert "resize_volume" not in saved.verbs()


def test_its_medium_stays(saved: Rig) -> None:
    saved.push({"vm.yaml": machine()})
    saved.settle()
    assert "delete_volume" not in saved.verbs()
    assert any("_seed_" in name for name in saved.host.pools["gitvirt"])


def test_nobody_else_gets_the_disk_of_a_renamed_machine(rig: Rig) -> None:
    rig.push({"vm.yaml": machine(), "disk.yaml": disk()})
    rig.settle()
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    rig.host._put(replace(raw, name="mine"))
    rig.host._tell(rig.uuid(), "lifecycle")
    rig.push({"other.yaml": machine("other", runPolicy="AlwaysOn"), "disk.yaml": disk(size="2Gi")})
    rig.settle()
    assert not rig.running("other")
    assert "in use by" in condition(rig.vm("other"), "BlockDevicesReady")["message"]
    assert "resize_volume" not in rig.verbs()
