"""A machine that goes to another node finds its address there: that node's network holds it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.identity import mac_address
from agent.core.migrating import Order
from agent.core.network import Held
from agent.places import Pools
from tests.product.test_cold_moves import cordoned
from tests.product.test_migration import Fleet, fleet, held, why
from tests.rig import OPERATIONS, condition, disk, machine, operation, settings, vm_key

ENTRY = "vm.default.default.gitvirt"


@pytest.fixture
def rig(tmp_path: Path) -> Fleet:
    made = fleet(tmp_path, Pools(), 2)
    made.push({"vm.yaml": None, "config.yaml": settings("10.66.10.0/24")})
    made.settle()
    made.push({"vm.yaml": [machine(), disk()]})
    made.settle()
    assert made.on() == ["pt-1"]
    return made


def entries(rig: Fleet, node: str) -> dict[str, str]:
    """Addresses that the network of a node holds, by the names that go with them."""
    reading = rig.hosts[node].networks.get("gitvirt")
    return {each.name: each.address for each in reading.held} if reading is not None else {}


def address(rig: Fleet) -> str:
    found: str = rig.vm()["status"]["ipAddress"]
    return found


def test_the_network_that_a_guest_comes_to_holds_its_address_before_it_leaves(rig: Fleet) -> None:
    shown: list[Any] = []
    begin = rig.host.begin_migration

    def seen(uuid: str, order: Order) -> None:
        shown.append((entries(rig, "pt-1"), entries(rig, "pt-2")))
        assert rig.hosts["pt-2"].networks["gitvirt"].network.active
        begin(uuid, order)

    rig.host.begin_migration = seen  # type: ignore[method-assign]
    its_own = {ENTRY: address(rig)}
    assert (entries(rig, "pt-1"), entries(rig, "pt-2")) == (its_own, {})
    rig.ask()
    rig.settle()
    assert shown == [(its_own, its_own)]
    assert rig.on() == ["pt-2"]
    assert (entries(rig, "pt-1"), entries(rig, "pt-2")) == ({}, its_own)


def test_what_it_would_have_come_to_holds_nothing_once_it_stays(rig: Fleet) -> None:
    its_own = {ENTRY: address(rig)}

    on_the_way: list[Any] = []

    def called_off() -> None:
        on_the_way.append(entries(rig, "pt-2"))
        rig.push({"move.yaml": None}, OPERATIONS)

    held(rig, called_off)
    rig.ask()
    rig.settle()
    assert on_the_way == [its_own]
    assert rig.on() == ["pt-1"]
    assert (entries(rig, "pt-1"), entries(rig, "pt-2")) == (its_own, {})


def test_a_network_that_holds_it_for_somebody_else_keeps_the_guest_where_it_is(
    rig: Fleet,
) -> None:
    theirs = Held("gitvirt", "52:54:00:00:00:01", address(rig))
    rig.hosts["pt-2"].add_network(rig.host.networks["gitvirt"].network, theirs)
    rig.settle()
    rig.ask()
    rig.go(20)
    assert why(rig) == ("InProgress", "TargetPreparing")
    told = condition(rig.vmop("move"), "Completed")["message"]
    assert "That has failed and is tried again" in told
    assert "is held for somebody else" in told
    rig.go(10, seconds=60)
    rig.settle()
    assert why(rig)[0] == "Failed"
    assert "is held for somebody else" in condition(rig.vmop("move"), "Completed")["message"]
    assert rig.on() == ["pt-1"]
    assert rig.host.orders == []
    assert theirs in rig.hosts["pt-2"].networks["gitvirt"].held
    assert entries(rig, "pt-1") == {ENTRY: address(rig)}


def test_what_starts_on_another_node_finds_its_address_there(rig: Fleet) -> None:
    rig.push({"vm.yaml": [machine(runPolicy="Manual"), disk()]})
    rig.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    rig.settle()
    its_own = {ENTRY: address(rig)}
    assert (rig.on(), entries(rig, "pt-1")) == ([], its_own)
    rig.push({"node.yaml": cordoned("pt-1")})
    rig.settle()
    rig.hosts["pt-2"].verbs.clear()
    rig.push({"start.yaml": operation("start", "vm", "Start")}, OPERATIONS)
    rig.settle()
    assert rig.on() == ["pt-2"]
    verbs = [verb for verb, _ in rig.hosts["pt-2"].verbs]
    assert verbs.index("hold_address") < verbs.index("start")
    assert (entries(rig, "pt-1"), entries(rig, "pt-2")) == ({}, its_own)
    (entry,) = rig.hosts["pt-2"].networks["gitvirt"].held
    assert entry.mac == mac_address("default", vm_key())
