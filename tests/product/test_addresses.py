"""Addresses: who gets which, for how long, and that nobody gets one twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig import Rig, condition, manifest

MINUTES = 60.0


def settings(*cidrs: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {"name": "virtualization", **metadata},
        "spec": {"version": 1, "settings": {"virtualMachineCIDRs": list(cidrs)}},
    }


def static(address: str, name: str = "custom", **metadata: Any) -> dict[str, Any]:
    spec = {"type": "Static", "staticIP": address}
    return manifest("VirtualMachineIPAddress", name, spec, **metadata)


def auto(name: str = "some", **metadata: Any) -> dict[str, Any]:
    return manifest("VirtualMachineIPAddress", name, {"type": "Auto"}, **metadata)


def vmip(rig: Rig, name: str = "custom", namespace: str = "default") -> dict[str, Any]:
    return rig.document(f"namespaces/{namespace}/virtualmachineipaddresses/{name}.yaml")


def lease(rig: Rig, address: str) -> dict[str, Any]:
    name = address.replace(".", "-")
    return rig.document(f"cluster/virtualmachineipaddressleases/ip-{name}.yaml")


def leases(rig: Rig) -> list[str]:
    folder = "cluster/virtualmachineipaddressleases/"
    return sorted(path.removeprefix(folder) for path in rig.documents() if path.startswith(folder))


@pytest.fixture
def pool(rig: Rig) -> Rig:
    rig.push({"config.yaml": settings("10.66.10.0/24", "10.66.20.0/24")})
    rig.settle()
    return rig


def test_a_static_address_is_reserved_by_its_lease(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    said = vmip(pool)["status"]
    assert (said["phase"], said["address"]) == ("Bound", "10.66.20.77")
    assert condition(vmip(pool), "Bound")["status"] == "True"
    assert condition(vmip(pool), "Attached")["reason"] == "VirtualMachineNotFound"
    held = lease(pool, "10.66.20.77")
    assert held["spec"] == {
        "virtualMachineIPAddressRef": {"name": "custom", "namespace": "default"}
    }
    assert held["status"]["phase"] == "Bound"
    assert list(held["metadata"]["labels"].values()) == [vmip(pool)["metadata"]["uid"]]


def test_a_deleted_one_leaves_its_lease_with_its_namespace_for_ten_minutes(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77"), "other.yaml": static("10.66.20.78", "other")})
    pool.settle()
    pool.push({"ip.yaml": None})
    pool.settle()
    held = lease(pool, "10.66.20.77")
    assert held["spec"] == {"virtualMachineIPAddressRef": {"name": "", "namespace": "default"}}
    assert held["status"]["phase"] == "Released"
    assert condition(held, "Bound")["reason"] == "Released"
    pool.now += 10 * MINUTES - 2
    pool.settle()
    assert "ip-10-66-20-77.yaml" in leases(pool)
    pool.now += 3
    pool.settle()
    assert leases(pool) == ["ip-10-66-20-78.yaml"]


def test_within_that_time_its_namespace_takes_it_back_and_no_other(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77"), "other.yaml": static("10.66.20.78", "other")})
    pool.settle()
    pool.push({"ip.yaml": None})
    pool.settle()
    pool.push({"theirs.yaml": static("10.66.20.77", "theirs", namespace="prod")})
    pool.settle(400)
    refused = condition(vmip(pool, "theirs", "prod"), "Bound")
    assert refused["reason"] == "VirtualMachineIPAddressLeaseNotReady"
    assert "belongs to a different namespace" in refused["message"]
    pool.push({"again.yaml": static("10.66.20.77", "again")})
    pool.settle()
    assert vmip(pool, "again")["status"]["phase"] == "Bound"
    ref = lease(pool, "10.66.20.77")["spec"]["virtualMachineIPAddressRef"]
    assert ref == {"name": "again", "namespace": "default"}
    assert lease(pool, "10.66.20.77")["status"]["phase"] == "Bound"
    pool.now += 20 * MINUTES
    pool.settle()
    assert lease(pool, "10.66.20.77")["status"]["phase"] == "Bound"


def test_automatic_ones_get_different_addresses_of_the_pool(pool: Rig) -> None:
    pool.push({"ips.yaml": [auto(f"ip-{number}") for number in range(200)]})
    pool.settle()
    got = [vmip(pool, f"ip-{number}")["status"]["address"] for number in range(200)]
    assert len(set(got)) == 200
    assert {address.rpartition(".")[0] for address in got} == {"10.66.10", "10.66.20"}
    assert not {address for address in got if address.endswith((".0", ".255"))}
