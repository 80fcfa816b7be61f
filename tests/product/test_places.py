"""A device stays in the place that it has: what comes and goes beside it moves nothing."""

from __future__ import annotations

from typing import Any

from agent.core.domain_text import DomainText
from agent.kinds.virtual_machine.definition import read
from tests.product.test_drift import attribute
from tests.rig import Rig, condition, disk, machine

SEEDED = {"type": "UserData", "userData": "#cloud-config\n"}


def units(rig: Rig, *, active: bool = False) -> list[int]:
    """The positions of root, data, more and the medium on their bus, of those that are there, in this order."""
    domain = rig.host.read_domain(rig.uuid())
    assert domain is not None
    found = read(DomainText(domain.active_xml if active else domain.inactive_xml)).disks.disks
    names = ("root", "data", "more", "_seed_")
    named = {name: each.position for each in found for name in names if name in each.path}
    assert len(named) == len(found)
    return [named[name] for name in names if name in named]


def push(rig: Rig, *disks: str, **spec: Any) -> None:
    names = ("root", "data", "more")
    rig.push({"vm.yaml": [machine(disks=disks, **spec), *(disk(name) for name in names)]})
    rig.settle()


def test_a_list_gives_places_in_its_order_and_a_medium_has_its_own(rig: Rig) -> None:
    push(rig, "root", "data", provisioning=SEEDED)
    assert units(rig) == [0, 1, 16]


def test_a_disk_that_taken_out_moves_no_other_and_comes_back_where_it_runs(rig: Rig) -> None:
    push(rig, "root", "data", provisioning=SEEDED)
    push(rig, "data", provisioning=SEEDED)
    assert units(rig) == [1, 16]
    push(rig, "data", "more", "root", provisioning=SEEDED)
    assert units(rig) == [0, 1, 2, 16]  # root still runs where it was
    assert units(rig, active=True) == [0, 1, 16]
    assert condition(rig.vm(), "DriftDetected") == {}


def test_a_device_that_was_moved_by_hand_stays_there(rig: Rig) -> None:
    push(rig, "root", "data")
    rig.host.edit(rig.uuid(), attribute("devices/disk[2]/address", "unit", "7"))
    rig.settle()
    assert units(rig) == [0, 7]
    assert condition(rig.vm(), "DriftDetected") == {}
    push(rig, "root", "data", cpu={"cores": 2})
    assert units(rig) == [0, 7]
    domain = rig.host.read_domain(rig.uuid())
    assert domain is not None
    assert read(DomainText(domain.inactive_xml)).cpu.cores == 2


def test_an_interface_that_was_moved_by_hand_stays_where_it_is_in_nobodys_way(rig: Rig) -> None:
    push(rig, "root")
    for bus, there in (("0x0a", "0x0a"), ("0x02", "0x01")):  # a free port, and that of the disks
        rig.host.edit(rig.uuid(), attribute("devices/interface/address", "bus", bus))
        rig.settle()
        domain = rig.host.read_domain(rig.uuid())
        assert domain is not None
        (interface,) = read(DomainText(domain.inactive_xml)).interfaces.interfaces
        assert dict(interface.address)["bus"] == there
        assert condition(rig.vm(), "DriftDetected") == {}


def test_another_bus_gives_places_anew(rig: Rig) -> None:
    push(rig, "root", "data", provisioning=SEEDED)
    push(rig, "data", provisioning=SEEDED)
    push(rig, "data", provisioning=SEEDED, enableParavirtualization=False)
    assert units(rig) == [0, 5]
