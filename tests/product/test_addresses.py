"""Addresses: who gets which, for how long, and that nobody gets one twice."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.core.facts import Engine
from agent.core.links import Link
from agent.core.metadata import Reserved
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.core.tables import table, text
from tests.rig import STATUS, Rig, condition, disk, machine, manifest, operation, settings, static

CATALOGUE = Catalogue.load()
MINUTES = 60.0


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


@pytest.mark.promise("S264", "S267", "S270", "S281")
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


@pytest.mark.promise("S286", "S288")
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


@pytest.mark.promise("S287")
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


@pytest.mark.promise("S262", "S276")
def test_automatic_ones_get_different_addresses_of_the_pool(pool: Rig) -> None:
    pool.push({"ips.yaml": [auto(f"ip-{number}") for number in range(200)]})
    pool.settle()
    got = [vmip(pool, f"ip-{number}")["status"]["address"] for number in range(200)]
    assert len(set(got)) == 200
    assert {address.rpartition(".")[0] for address in got} == {"10.66.10", "10.66.20"}
    assert not {address for address in got if address.endswith((".0", ".255"))}


def test_giving_out_an_address_takes_two_decisions_about_it_and_one_about_its_lease(
    pool: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    redecide = Engine._redecide

    def counting(self: Engine, key: Key, now: float) -> bool:
        counted[key.kind] += 1
        return redecide(self, key, now)

    monkeypatch.setattr(Engine, "_redecide", counting)
    pool.push({"ips.yaml": [auto(f"ip-{number}") for number in range(100)]})
    pool.settle()
    assert len(leases(pool)) == 100
    assert counted["VirtualMachineIPAddress"] == 200
    assert counted["VirtualMachineIPAddressLease"] == 100


def test_one_that_is_suspended_takes_no_lease_and_says_none(pool: Rig) -> None:
    suspended: dict[str, Any] = {"annotations": {"gitvirt.io/reconcile": "disabled"}}
    pool.push({"ip.yaml": static("10.66.20.77", **suspended)})
    pool.settle()
    assert leases(pool) == []
    assert vmip(pool)["status"]["phase"] == "Pending"
    told = condition(vmip(pool), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressLeaseNotFound"
    assert "not taken while nothing is done" in told["message"]
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    assert vmip(pool)["status"]["phase"] == "Bound"
    pool.push({"ip.yaml": static("10.66.20.77", **suspended)})
    pool.settle()
    assert vmip(pool)["status"]["phase"] == "Bound"


def own(rig: Rig, name: str = "vm") -> str:
    """Name of the address that was made for a machine."""
    found: str = rig.vm(name)["status"]["virtualMachineIPAddressName"]
    return found


@pytest.mark.promise("S30", "S271", "S275", "S277", "S283")
def test_a_machine_gets_an_address_of_the_pool_by_itself(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    said = pool.vm()["status"]
    assert said["phase"] == "Running"
    assert own(pool).startswith("vm-")
    assert len(own(pool)) == len("vm-7prpx")
    made = vmip(pool, own(pool))
    assert made["spec"] == {"type": "Auto"}
    assert made["metadata"]["ownerReferences"][0]["name"] == "vm"
    assert made["status"]["phase"] == "Attached"
    assert made["status"]["virtualMachineName"] == "vm"
    assert said["ipAddress"] == made["status"]["address"]
    assert condition(pool.vm(), "VirtualMachineIPAddressReady")["status"] == "True"
    kept = (Reserved("VirtualMachineIPAddress", own(pool), said["ipAddress"]),)
    assert pool.memory().addresses == kept
    assert pool.memory(active=True).addresses == kept
    assert lease(pool, said["ipAddress"])["status"]["phase"] == "Bound"


def test_nothing_is_defined_before_git_shows_the_lease(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    shown: list[bool] = []
    define = pool.host.define

    def seen(xml: str) -> Any:
        shown.append(len(leases(pool)) == 1)
        return define(xml)

    pool.host.define = seen  # type: ignore[method-assign]
    pool.settle()
    assert shown
    assert all(shown)


@pytest.mark.promise("S278", "S279", "S280")
def test_it_keeps_its_address_off_and_on_and_loses_it_with_its_manifest(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()], "other.yaml": disk("other")})
    pool.settle()
    before, name = pool.vm()["status"]["ipAddress"], own(pool)
    pool.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()]})
    pool.settle()
    assert pool.vm()["status"]["ipAddress"] == before
    pool.push({"vm.yaml": [machine(runPolicy="AlwaysOn"), disk()]})
    pool.settle()
    assert pool.vm()["status"]["ipAddress"] == before
    pool.push({"vm.yaml": disk()})
    pool.settle()
    assert f"namespaces/default/virtualmachineipaddresses/{name}.yaml" not in pool.documents()
    assert lease(pool, before)["status"]["phase"] == "Released"
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    assert own(pool) != name
    assert pool.vm()["status"]["ipAddress"] == before, "one of its name takes it back"


@pytest.mark.promise("S284", "S285")
def test_whoever_declares_an_automatic_address_has_it(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()], "other.yaml": disk("other")})
    pool.settle()
    before, name = pool.vm()["status"]["ipAddress"], own(pool)
    uid = vmip(pool, name)["metadata"]["uid"]
    pool.push({"ip.yaml": auto(name)})
    pool.settle()
    assert "ownerReferences" not in vmip(pool, name)["metadata"]
    assert vmip(pool, name)["metadata"]["uid"] == uid
    assert vmip(pool, name)["status"]["phase"] == "Attached"
    pool.push({"vm.yaml": disk()})
    pool.settle()
    assert vmip(pool, name)["status"]["phase"] == "Bound"
    assert lease(pool, before)["status"]["phase"] == "Bound"
    pool.push({"vm.yaml": [machine("new", virtualMachineIPAddressName=name), disk()]})
    pool.settle()
    assert pool.vm("new")["status"]["ipAddress"] == before
    assert vmip(pool, name)["status"]["virtualMachineName"] == "new"


def test_one_that_is_not_declared_any_more_is_the_machines_again(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    before, name = pool.vm()["status"]["ipAddress"], own(pool)
    pool.push({"ip.yaml": auto(name)})
    pool.settle()
    pool.push({"ip.yaml": None})
    pool.settle()
    assert vmip(pool, name)["metadata"]["ownerReferences"][0]["name"] == "vm"
    assert "deletionTimestamp" not in vmip(pool, name)["metadata"]
    assert pool.vm()["status"]["ipAddress"] == before
    assert pool.running()


@pytest.mark.promise("S282")
def test_another_address_waits_for_the_restart_of_a_running_machine(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine(), disk()], "ip.yaml": static("10.66.20.77")})
    pool.settle()
    before, name = pool.vm()["status"]["ipAddress"], own(pool)
    named = machine(virtualMachineIPAddressName="custom")
    pool.push({"vm.yaml": [named, disk()]})
    pool.settle()
    said = pool.vm()["status"]
    assert [each["path"] for each in said["restartAwaitingChanges"]] == [
        "virtualMachineIPAddressName"
    ]
    assert (said["ipAddress"], said["virtualMachineIPAddressName"]) == (before, name)
    assert vmip(pool, name)["status"]["phase"] == "Attached"
    assert pool.memory().addresses[0].address == "10.66.20.77"
    pool.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    pool.settle()
    said = pool.vm()["status"]
    assert (said["ipAddress"], said["virtualMachineIPAddressName"]) == ("10.66.20.77", "custom")
    assert f"namespaces/default/virtualmachineipaddresses/{name}.yaml" not in pool.documents()
    assert lease(pool, before)["status"]["phase"] == "Released"


def test_of_two_machines_that_name_one_address_one_has_it(pool: Rig) -> None:
    pool.push(
        {
            "a.yaml": [machine(virtualMachineIPAddressName="custom"), disk()],
            "ip.yaml": static("10.66.20.77"),
        }
    )
    pool.settle()
    late = machine("late", disks=("second",), virtualMachineIPAddressName="custom")
    pool.push({"b.yaml": [late, disk("second")]})
    pool.settle()
    assert pool.vm("late")["status"]["phase"] == "Pending"
    told = condition(pool.vm("late"), "VirtualMachineIPAddressReady")
    assert told["reason"] == "VirtualMachineIPAddressNotAvailable"
    assert "VirtualMachine default/vm" in told["message"]
    pool.push({"a.yaml": disk()})
    pool.settle()
    assert pool.vm("late")["status"]["ipAddress"] == "10.66.20.77"


def test_an_address_in_use_stays_though_its_manifest_is_gone(pool: Rig) -> None:
    named = machine(virtualMachineIPAddressName="custom")
    pool.push({"a.yaml": [named, disk()], "ip.yaml": static("10.66.20.77")})
    pool.settle()
    pool.push({"ip.yaml": None})
    pool.settle()
    assert "kept while VirtualMachine default/vm" in condition(vmip(pool), "Terminating")["message"]
    assert lease(pool, "10.66.20.77")["status"]["phase"] == "Bound"
    pool.push({"a.yaml": disk()})
    pool.settle()
    assert lease(pool, "10.66.20.77")["status"]["phase"] == "Released"


def test_a_machine_whose_address_is_not_there_waits_and_says_so(pool: Rig) -> None:
    pool.push({"a.yaml": [machine(virtualMachineIPAddressName="custom"), disk()]})
    pool.settle()
    told = condition(pool.vm(), "VirtualMachineIPAddressReady")
    assert told["reason"] == "VirtualMachineIPAddressNotReady"
    assert "is not there: create it" in told["message"]
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    assert pool.vm()["status"]["ipAddress"] == "10.66.20.77"


def test_without_a_pool_nothing_is_different(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert rig.running()
    assert "virtualMachineIPAddressName" not in rig.vm()["status"]
    assert rig.memory().addresses == ()
    assert not [path for path in rig.documents() if "ipaddress" in path]


def test_an_address_without_a_pool_says_what_to_do(rig: Rig) -> None:
    rig.push({"ip.yaml": static("10.66.20.77")})
    rig.settle()
    assert "virtualMachineCIDRs" in condition(vmip(rig), "Bound")["message"]
    rig.push({"config.yaml": settings("10.66.20.0/24")})
    rig.settle()
    assert vmip(rig)["status"]["phase"] == "Bound"


def problems(rig: Rig) -> str:
    found = rig.agent.reconciler.summary().problems
    return "\n".join(f"{each.path}: {each.message}" for each in found)


def test_a_bound_address_changes_into_a_static_one_of_the_same_and_into_nothing_else(
    pool: Rig,
) -> None:
    pool.push({"ip.yaml": auto("custom")})
    pool.settle()
    got = vmip(pool)["status"]["address"]
    pool.push({"ip.yaml": static("10.66.20.77" if got != "10.66.20.77" else "10.66.20.78")})
    pool.settle()
    assert "'Bound' state -> static IP cannot be changed" in problems(pool)
    assert vmip(pool)["spec"] == {"type": "Auto"}
    pool.push({"ip.yaml": static(got)})
    pool.settle()
    assert problems(pool) == ""
    assert vmip(pool)["spec"] == {"type": "Static", "staticIP": got}
    assert vmip(pool)["status"]["address"] == got
    pool.push({"ip.yaml": auto("custom")})
    pool.settle()
    assert "spec.type: the VirtualMachineIPAddress is in 'Bound' state" in problems(pool)
    assert vmip(pool)["status"]["phase"] == "Bound"


def test_one_that_has_no_address_yet_can_be_changed(pool: Rig) -> None:
    pool.push({"ip.yaml": static("192.168.0.1")})
    pool.settle()
    assert vmip(pool)["status"]["phase"] == "Pending"
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    assert vmip(pool)["status"]["address"] == "10.66.20.77"


def test_a_range_stays_while_addresses_of_it_are_reserved(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77"), "other.yaml": static("10.66.10.5", "other")})
    pool.settle()
    pool.push({"config.yaml": settings("10.66.10.0/24")})
    pool.settle()
    assert "must cover 10.66.20.0/24" in problems(pool)
    assert "VirtualMachineIPAddress default/custom" in problems(pool)
    pool.push({"config.yaml": None})
    pool.settle()
    assert "its manifest is gone, and it stays: it must cover 10.66.10.0/24" in problems(pool)
    pool.push({"config.yaml": settings("10.66.10.0/24", "10.66.0.0/24"), "ip.yaml": None})
    pool.settle()
    assert problems(pool) == ""
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    told = condition(vmip(pool), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressIsOutOfTheValidRange"
    assert "10.66.10.0/24, 10.66.0.0/24" in told["message"]


def test_a_range_can_grow_around_what_is_reserved(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    pool.push({"config.yaml": settings("10.66.0.0/16")})
    pool.settle()
    assert problems(pool) == ""
    assert vmip(pool)["status"]["phase"] == "Bound"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.66.20.0", "first address of 10.66.20.0/24"),
        ("10.66.20.255", "last address of 10.66.20.0/24"),
        ("10.66.30.1", "in none of the ranges"),
    ],
)
def test_an_address_that_is_no_machines_is_out_of_range(
    pool: Rig, address: str, words: str
) -> None:
    pool.push({"ip.yaml": static(address)})
    pool.settle()
    told = condition(vmip(pool), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressIsOutOfTheValidRange"
    assert words in told["message"]
    assert leases(pool) == []


def test_an_address_that_somebody_has_is_refused_until_it_is_free(pool: Rig) -> None:
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    pool.push({"b.yaml": static("10.66.20.77", "late", namespace="prod")})
    pool.settle()
    told = condition(vmip(pool, "late", "prod"), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressLeaseAlreadyExists"
    assert "has already been allocated and has not been released" in told["message"]
    assert vmip(pool, "late", "prod")["status"]["phase"] == "Pending"
    pool.push({"ip.yaml": None})
    pool.settle()
    pool.now += 10 * MINUTES + 1
    pool.settle()
    assert vmip(pool, "late", "prod")["status"]["phase"] == "Bound"


def test_an_empty_pool_says_so_and_gives_what_comes_free(rig: Rig) -> None:
    rig.push({"config.yaml": settings("10.66.10.0/29")})
    rig.push({"ips.yaml": [auto(f"ip-{n}") for n in range(6)]})
    rig.settle()
    pending = [f"ip-{n}" for n in range(6) if vmip(rig, f"ip-{n}")["status"]["phase"] == "Pending"]
    assert len(pending) == 1, "of six, one is the gateway of the machines' network"
    assert "no remaining ips" in condition(vmip(rig, pending[0]), "Bound")["message"]
    rig.push({"config.yaml": settings("10.66.10.0/29", "10.66.20.0/29")})
    rig.settle()
    assert vmip(rig, pending[0])["status"]["phase"] == "Bound"


def test_a_lease_that_vanished_is_taken_again_and_one_that_another_has_is_lost(pool: Rig) -> None:
    path = "cluster/virtualmachineipaddressleases/ip-10-66-20-77.yaml"
    pool.push({"ip.yaml": static("10.66.20.77")})
    pool.settle()
    pool.push({path: None}, STATUS)
    pool.start("another")
    pool.settle()
    assert lease(pool, "10.66.20.77")["status"]["phase"] == "Bound"
    pool.push({"b.yaml": static("10.66.20.78", "other")})
    pool.settle()
    held = lease(pool, "10.66.20.77")
    theirs = lease(pool, "10.66.20.78")
    pool.push(
        {
            path: {
                **held,
                "spec": theirs["spec"],
                "metadata": {**held["metadata"], "labels": theirs["metadata"]["labels"]},
            }
        },
        STATUS,
    )
    other = vmip(pool, "other")
    other["status"]["address"] = "10.66.20.77"
    pool.push({"namespaces/default/virtualmachineipaddresses/other.yaml": other}, STATUS)
    pool.start("third")
    pool.settle()
    told = condition(vmip(pool), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressLeaseLost"
    assert vmip(pool)["status"]["address"] == "10.66.20.77", "no other one is taken"


def rows(rig: Rig, kind: str, folder: str) -> list[list[str]]:
    """What `gitvirt get` prints of a kind."""
    found = [rig.document(path) for path in sorted(rig.documents()) if f"/{folder}/" in path]
    shown = text(table(CATALOGUE.find(kind), found, now=rig.now))
    return [re.split(r"   +", line) for line in shown.splitlines()]


@pytest.mark.promise("S265", "S266", "S268", "S269", "S272", "S273", "S274")
def test_addresses_and_leases_are_listed_as_the_guide_shows_them(pool: Rig) -> None:
    pool.push({"vm.yaml": [machine("linux-vm"), disk()]})
    pool.settle()
    pool.now += 12 * 3600
    name, address = own(pool, "linux-vm"), pool.vm("linux-vm")["status"]["ipAddress"]
    assert rows(pool, "vmip", "virtualmachineipaddresses") == [
        ["NAME", "ADDRESS", "STATUS", "VM", "AGE"],
        [name, address, "Attached", "linux-vm", "12h"],
    ]
    ref = f'{{"name":"{name}","namespace":"default"}}'
    assert rows(pool, "vmipl", "virtualmachineipaddressleases") == [
        ["NAME", "VIRTUALMACHINEIPADDRESS", "STATUS", "AGE"],
        [f"ip-{address.replace('.', '-')}", ref, "Bound", "12h"],
    ]


@pytest.mark.promise("S263")
def test_all_addresses_of_a_range_but_its_ends_are_for_machines(tmp_path: Path) -> None:
    """On a network that nobody here gives a gateway."""
    rig = Rig(tmp_path, networks={"main": Link(bridge="br0")})
    asked = [static(f"10.66.10.{n}", f"ip-{n}") for n in range(8)]
    rig.push({"config.yaml": settings("10.66.10.0/29"), "ips.yaml": asked})
    rig.settle()
    phases = [vmip(rig, f"ip-{n}")["status"]["phase"] for n in range(8)]
    assert phases == ["Pending", *["Bound"] * 6, "Pending"]


def test_a_lease_cannot_be_declared(pool: Rig) -> None:
    ref = {"name": "custom", "namespace": "default"}
    spec = {"virtualMachineIPAddressRef": ref}
    pool.push({"l.yaml": manifest("VirtualMachineIPAddressLease", "ip-10-66-20-77", spec)})
    pool.settle()
    assert "cannot be declared" in problems(pool)
    assert leases(pool) == []
