"""No address is given to two machines, whoever acts and whatever a ledger has forgotten: what hosts show counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.core.links import Link
from agent.core.network import Held, NetworkReading
from tests.memory_networks import network
from tests.product.test_addresses import auto, lease, leases, own, vmip
from tests.product.test_several_nodes import go, host
from tests.product.test_two_agents import Pair
from tests.rig import STATUS, Rig, condition, disk, machine, settings, static

SMALL = settings("10.66.10.0/29")


def fleet_of(count: int) -> list[dict[str, Any]]:
    names = [f"vm-{number}" for number in range(count)]
    return [machine(name, disks=(name,)) for name in names] + [disk(name) for name in names]


def addresses(rig: Rig, count: int) -> list[str]:
    return [rig.vm(f"vm-{number}")["status"]["ipAddress"] for number in range(count)]


def lose(rig: Rig, tip: str | None = None) -> None:
    """The status branch is as it was then, or gone, and another agent begins with that."""
    refs = rig.repo.refs  # type: ignore[attr-defined]
    del refs[STATUS]
    if tip is not None:
        refs[STATUS] = tip
    rig.start("another")


def test_with_a_lost_ledger_each_keeps_its_address(rig: Rig) -> None:
    rig.push({"config.yaml": SMALL, "vms.yaml": fleet_of(4)})
    rig.settle()
    before = addresses(rig, 4)
    assert len(set(before)) == 4
    lose(rig)
    rig.settle()
    assert addresses(rig, 4) == before
    assert len(leases(rig)) == 4


def test_a_machine_that_a_rolled_back_ledger_does_not_know_keeps_its_address(rig: Rig) -> None:
    rig.push({"config.yaml": SMALL, "vms.yaml": fleet_of(2)})
    rig.settle()
    tip = rig.repo.fetch()[STATUS]
    rig.push({"vms.yaml": fleet_of(4)})
    rig.settle()
    before = addresses(rig, 4)
    lose(rig, tip)
    rig.push({"vms.yaml": fleet_of(5)})
    rig.settle()
    assert addresses(rig, 4) == before
    assert addresses(rig, 5)[4] not in {*before, ""}


def test_what_a_lost_machine_has_is_given_to_nobody(rig: Rig) -> None:
    """Its domain is there, its manifest and the ledger are not."""
    rig.push({"config.yaml": SMALL, "vms.yaml": fleet_of(1)})
    rig.settle()
    (there,) = addresses(rig, 1)
    other = Rig(rig.folder / "x", host=rig.host, fleet="other")
    other.push(
        {
            "config.yaml": SMALL,
            "ip.yaml": static(there),
            "more.yaml": [auto(f"a{n}") for n in range(6)],
        }
    )
    other.settle()
    told = condition(vmip(other), "Bound")
    assert told["reason"] == "VirtualMachineIPAddressLeaseAlreadyExists"
    assert "of fleet default" in told["message"]
    got = [vmip(other, f"a{n}")["status"].get("address") for n in range(6)]
    assert there not in got
    assert len({each for each in got if each}) == 4, (
        "of six, one is a machine's and one the network's"
    )


def test_nothing_is_given_out_before_every_node_has_been_read(tmp_path: Path) -> None:
    """One that is out of reach may have a domain with any address."""
    away = host(2)
    away.reachable = False
    rig = Rig(tmp_path, host=host(1), others=(away,))
    rig.push({"config.yaml": SMALL, "ip.yaml": static("10.66.10.4")})
    go(rig)
    assert leases(rig) == []
    assert "pt-2" in condition(vmip(rig), "Bound")["message"]
    away.reachable = True
    away._tell("", "connected")
    rig.settle()
    assert vmip(rig)["status"]["phase"] == "Bound"
    away.reachable = False
    away._tell("", "disconnected")
    rig.push({"other.yaml": static("10.66.10.5", "other")})
    rig.settle()
    assert vmip(rig, "other")["status"]["phase"] == "Bound", "what it has is known"


def test_what_networks_hold_and_the_hosts_own_addresses_count(rig: Rig) -> None:
    lan = network("lan", "10.66.10.3/29")
    held = (Held("lan", "52:54:00:00:00:01", "10.66.10.4"),)
    rig.host.networks["lan"] = NetworkReading(lan, held)
    rig.host._tell("", "connected")
    asked = [static(f"10.66.10.{n}", f"ip-{n}") for n in range(1, 7)]
    rig.push({"config.yaml": SMALL, "ips.yaml": asked, "more.yaml": auto()})
    rig.settle()
    phases = {n: vmip(rig, f"ip-{n}")["status"]["phase"] for n in range(1, 7)}
    assert {n for n, phase in phases.items() if phase == "Bound"} == {2, 5, 6}
    assert "gateway" in condition(vmip(rig, "ip-1"), "Bound")["message"]
    assert "the node itself" in condition(vmip(rig, "ip-3"), "Bound")["message"]
    assert "52:54:00:00:00:01" in condition(vmip(rig, "ip-4"), "Bound")["message"]
    assert "no remaining ips" in condition(vmip(rig, "some"), "Bound")["message"]


def test_a_gateway_of_the_settings_is_no_machines(tmp_path: Path) -> None:
    main = Link(bridge="br0", gateways=("10.66.10.6",))
    rig = Rig(tmp_path, networks={"main": main})
    rig.push(
        {"config.yaml": SMALL, "ips.yaml": [static("10.66.10.6"), static("10.66.10.1", "first")]}
    )
    rig.settle()
    assert "gateway" in condition(vmip(rig), "Bound")["message"]
    assert vmip(rig, "first")["status"]["phase"] == "Bound"


def test_of_two_agents_at_once_one_gives_out_addresses(tmp_path: Path) -> None:
    """Whoever was slow finds that the branch has moved, and nobody relies on what it wanted to write."""
    pair = Pair(tmp_path)
    pair.push({"config.yaml": SMALL})
    pair.go(200)
    slow = pair.leader()
    pair.hung.append(slow)
    pair.push({"vms.yaml": fleet_of(4)})
    pair.go(400)
    assert pair.leader() is not slow
    pair.hung.clear()
    pair.go(200)
    got = addresses(slow, 4)
    assert len(set(got)) == 4
    assert sorted(f"ip-{each.replace('.', '-')}.yaml" for each in got) == leases(slow)
    assert {
        own(slow, f"vm-{n}"): lease(slow, got[n])["spec"]["virtualMachineIPAddressRef"]["name"]
        for n in range(4)
    } == {own(slow, f"vm-{n}"): own(slow, f"vm-{n}") for n in range(4)}
