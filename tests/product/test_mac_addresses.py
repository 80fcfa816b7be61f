"""MAC addresses that are reserved for interfaces."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.links import Link
from agent.core.metadata import Reserved
from tests.rig import Rig, condition, disk, machine, manifest, operation

MINE = "52:54:00:12:34:56"
LAN = {"type": "Network", "name": "lan"}


def mac(address: str | None = MINE, name: str = "mine") -> dict[str, Any]:
    return manifest("VirtualMachineMACAddress", name, {"address": address} if address else {})


def vmmac(rig: Rig, name: str = "mine") -> dict[str, Any]:
    return rig.document(f"namespaces/default/virtualmachinemacaddresses/{name}.yaml")


def leases(rig: Rig) -> list[str]:
    folder = "cluster/virtualmachinemacaddressleases/"
    return sorted(path.removeprefix(folder) for path in rig.documents() if path.startswith(folder))


def main_with(name: str) -> list[dict[str, Any]]:
    return [{"type": "Main", "virtualMachineMACAddressName": name}]


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.networks = {"lan": Link(network="default")}
    rig.start()
    return rig


def test_a_machine_has_the_address_that_it_names(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(networks=main_with("mine")), disk()], "mac.yaml": mac()})
    rig.settle()
    (shown,) = rig.vm()["status"]["networks"]
    assert (shown["macAddress"], shown["virtualMachineMACAddressName"]) == (MINE, "mine")
    assert condition(rig.vm(), "VirtualMachineMACAddressReady")["status"] == "True"
    assert rig.memory().addresses == (Reserved("VirtualMachineMACAddress", "mine", MINE),)
    assert vmmac(rig)["status"]["phase"] == "Attached"
    assert vmmac(rig)["status"]["virtualMachineName"] == "vm"
    assert leases(rig) == ["mac-52-54-00-12-34-56.yaml"]


def test_one_that_says_no_address_gets_one(rig: Rig) -> None:
    rig.push({"mac.yaml": mac(None)})
    rig.settle()
    got = vmmac(rig)["status"]["address"]
    assert got.startswith("52:")
    assert leases(rig) == [f"mac-{got.replace(':', '-')}.yaml"]
    rig.push({"mac.yaml": None, "other.yaml": mac(got, "other")})
    rig.settle()
    assert vmmac(rig, "other")["status"]["phase"] == "Bound", "nothing is retained of it"


def test_nobody_gets_one_that_somebody_has(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()], "mac.yaml": mac()})
    rig.settle()
    has = rig.vm()["status"]["networks"][0]["macAddress"]
    rig.push({"a.yaml": mac("52-54-00-12-34-56", "again"), "b.yaml": mac(has, "machines")})
    rig.settle()
    for name in ("again", "machines"):
        told = condition(vmmac(rig, name), "Bound")
        assert told["reason"] == "VirtualMachineMACAddressLeaseAlreadyExists"
        assert "is in use already" in told["message"]


def test_a_machine_waits_for_the_address_that_it_names(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(networks=main_with("mine")), disk()]})
    rig.settle()
    told = condition(rig.vm(), "VirtualMachineMACAddressReady")
    assert told["reason"] == "VirtualMachineMACAddressNotReady"
    assert "is not there: create it" in told["message"]
    assert not rig.running()
    rig.push({"mac.yaml": mac()})
    rig.settle()
    assert rig.running()


def test_another_address_of_main_waits_for_a_restart(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()], "mac.yaml": mac()})
    rig.settle()
    before = rig.vm()["status"]["networks"][0]["macAddress"]
    rig.push({"vm.yaml": [machine(networks=main_with("mine")), disk()]})
    rig.settle()
    assert [each["path"] for each in rig.vm()["status"]["restartAwaitingChanges"]] == ["networks"]
    assert rig.vm()["status"]["networks"][0]["macAddress"] == before
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()
    assert rig.vm()["status"]["networks"][0]["macAddress"] == MINE
    assert condition(rig.vm(), "DriftDetected") == {}


def test_an_additional_network_has_one_made_that_goes_with_it(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(networks=[{"type": "Main"}, LAN]), disk()]})
    rig.settle()
    main, lan = rig.vm()["status"]["networks"]
    assert "virtualMachineMACAddressName" not in main
    made = vmmac(rig, lan["virtualMachineMACAddressName"])
    assert made["status"]["address"] == lan["macAddress"]
    assert made["metadata"]["ownerReferences"][0]["name"] == "vm"
    assert made["status"]["phase"] == "Attached"
    rig.push({"vm.yaml": [machine(networks=[{"type": "Main"}]), disk()]})
    rig.settle()
    assert leases(rig) == []


def test_what_is_no_address_of_one_station_is_a_problem(rig: Rig) -> None:
    rig.push({"mac.yaml": mac("53:54:00:12:34:56")})
    rig.settle()
    (problem,) = rig.agent.reconciler.summary().problems
    assert "its second digit is even" in problem.message


def test_a_bound_one_keeps_its_address(rig: Rig) -> None:
    rig.push({"mac.yaml": mac()})
    rig.settle()
    rig.push({"mac.yaml": mac("52:54:00:00:00:01")})
    rig.settle()
    (problem,) = rig.agent.reconciler.summary().problems
    assert "address cannot be changed" in problem.message
    assert vmmac(rig)["status"]["address"] == MINE
