"""Every device has an address that is written out: none moves when another one comes or goes."""

from __future__ import annotations

import pytest

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.xml import Element
from agent.kinds.virtual_machine.definition import read
from agent.kinds.virtual_machine.elements.chipset import interface_slots
from tests.golden.case import CASES, names
from tests.golden.test_golden import GOLDEN

WITHOUT = {
    "controller[@type='pci'][@index='0']": "the root of all buses is on none",
    "serial": "the number of its port says which of the PC's four it is",
    "graphics": "a server of QEMU's, which the guest does not see",
    "panic": "the PC has one port for it",
}
"""Devices to which libvirt itself gives no address, and why."""


def devices(root: Element) -> list[Element]:
    return list(root.iterfind("devices/*"))


def addresses(root: Element) -> list[tuple[str, ...]]:
    """What each device of a definition is, and all attributes of its address."""
    return sorted(
        (
            str(device.tag),
            *(f"{name}={address.get(name)}" for name in sorted(map(str, address.keys()))),
        )
        for device in devices(root)
        for address in device.iterfind("address")
    )


@pytest.mark.parametrize("name", names())
def test_every_device_has_an_address(name: str) -> None:
    root = parse((CASES / name / GOLDEN).read_text())
    excused = {device for path in WITHOUT for device in root.iterfind(f"devices/{path}")}
    bare = {device for device in devices(root) if device.find("address") is None}
    assert {device.tag for device in bare ^ excused} == set()


@pytest.mark.parametrize("name", names())
def test_no_two_devices_are_in_one_place(name: str) -> None:
    root = parse((CASES / name / GOLDEN).read_text())
    places = [
        tuple(part for part in found[1:] if not part.startswith("multifunction"))
        for found in addresses(root)
    ]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", names())
def test_what_can_be_plugged_in_later_finds_a_place_free(name: str) -> None:
    xml = (CASES / name / GOLDEN).read_text()
    root = parse(xml)
    places = interface_slots(i440fx=read(DomainText(xml)).firmware.i440fx)
    found = {tuple(at.attrib.items()) for at in root.iterfind("devices/interface/address")}
    others = {
        tuple(at.attrib.items())
        for device in devices(root)
        if device.tag != "interface"
        for at in device.iterfind("address")
    }
    buses = {
        0,
        *(int(at.get("index", "")) for at in root.iterfind("devices/controller[@type='pci']")),
    }
    there = {place for place in places if int(dict(place)["bus"], 16) in buses}
    assert found <= there
    assert not others & set(places)
    assert len(there) >= (17 if len(found) > 9 else 9)
