"""What a plan says of addresses: which one is taken, whether it is free, and what stands in the way."""

from __future__ import annotations

import pytest

from tests.plans import planned
from tests.product.test_addresses import auto, own, vmip
from tests.rig import Rig, disk, machine, settings, static


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push(
        {
            "config.yaml": settings("10.66.10.0/29", "10.66.20.0/24"),
            "vm.yaml": [machine(), disk()],
            "ip.yaml": static("10.66.20.77"),  # before the machine looks for one
        }
    )
    rig.settle()
    return rig


@pytest.mark.parametrize("live", [False, True])
def test_it_says_of_a_new_address_whether_it_is_free(on: Rig, live: bool) -> None:
    free = "10.66.20.78" if on.vm()["status"]["ipAddress"] != "10.66.20.78" else "10.66.20.79"
    new = {"a.yaml": static(free, "free"), "b.yaml": static("10.66.20.77", "taken")}
    found = planned(on, new, live=live)
    assert found.names == {"free": "create", "taken": "blocked"}
    assert found["free"].reason == f"takes {free}, which is free"
    assert "has already been allocated" in found["taken"].reason


def test_it_says_so_of_what_a_machine_has_by_itself(on: Rig) -> None:
    there = on.vm()["status"]["ipAddress"]
    found = planned(on, {"b.yaml": static(there, "mine")})
    assert "has already been allocated" in found["mine"].reason
    declared = planned(on, {"b.yaml": static(there, own(on))})
    assert {"type", "staticIP"} <= {each.path for each in declared[own(on)].immediate}
    other = planned(on, {"b.yaml": static("10.66.20.99", own(on))})
    assert "cannot be changed" in other.report.problems[0].message


@pytest.mark.parametrize("live", [False, True])
def test_a_new_machine_is_created_with_an_address_and_nothing_else_is_told(
    on: Rig, live: bool
) -> None:
    found = planned(on, {"new.yaml": [machine("new", disks=("more",)), disk("more")]}, live=live)
    assert found.names == {"new": "create", "more": "create"}
    assert "StartDomain" in found["new"].actions


def test_a_machine_that_names_an_address_which_is_not_there_is_blocked(on: Rig) -> None:
    named = machine("new", disks=("more",), virtualMachineIPAddressName="none")
    found = planned(on, {"new.yaml": [named, disk("more")]})
    assert found["new"].operation == "blocked"
    assert "is not there: create it" in found["new"].reason


@pytest.mark.parametrize("live", [False, True])
def test_another_address_of_a_running_machine_is_a_restart(on: Rig, live: bool) -> None:
    found = planned(
        on, {"vm.yaml": [machine(virtualMachineIPAddressName="custom"), disk()]}, live=live
    )
    assert found.names == {"vm": "change"}
    assert [change.path for change in found["vm"].restart] == ["virtualMachineIPAddressName"]


@pytest.mark.parametrize("live", [False, True])
def test_nothing_pushed_is_nothing_planned(on: Rig, live: bool) -> None:
    assert planned(on, live=live).names == {}
    on.now += 3600
    assert planned(on, live=live).names == {}


def test_a_full_pool_blocks_a_machine_that_would_need_more(rig: Rig) -> None:
    rig.push({"config.yaml": settings("10.66.10.0/30"), "ips.yaml": [auto("a"), auto("b")]})
    rig.settle()
    assert {vmip(rig, name)["status"]["phase"] for name in ("a", "b")} == {"Bound", "Pending"}
    found = planned(rig, {"new.yaml": [machine("new"), disk()]}, live=True)
    assert found["new"].operation == "blocked"
    assert "no remaining ips" in found["new"].reason
