"""Whatever a spec asks for: its definition says it, and says it back."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.links import USER, Link
from agent.core.metadata import KEPT_OPERATIONS, DomainMetadata, Power, Recorded
from agent.core.xml import Element
from agent.kinds.virtual_machine.definition import (
    differing,
    disk_xml,
    expect,
    interface_xml,
    read,
    render,
)
from agent.kinds.virtual_machine.definition import (
    slots as slots_of,
)
from agent.kinds.virtual_machine.elements.address import pci
from agent.kinds.virtual_machine.elements.chipset import VIRTIO_DISKS
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine.topology import MAX_CORES, problem
from agent.kinds.virtual_machine.validation import LEGACY_DEVICES
from agent.kinds.virtual_machine.wanted import LEGACY_INTERFACES, Device, Slots, Wanted, Wire
from agent.kinds.virtual_machine_class.cpu import GuestCpu
from tests.golden.case import CREATED, NODE

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=30)
PATHS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=40
).map(lambda name: f"/pool/{name}")
TEXT = st.text(max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MACHINES = ("pc-q35-7.2", "pc-q35-9.1", "q35")
LEGACY_MACHINES = ("pc-i440fx-7.2", "pc-i440fx-9.1", "pc")
SECONDS = st.integers(0, 2**33)
CORES = st.integers(1, MAX_CORES).filter(lambda cores: problem(cores) is None)
SIZES = st.builds("{}{}".format, st.integers(1, 4096), st.sampled_from(("Mi", "Gi", "M", "000Ki")))

CPUS = st.one_of(
    st.sampled_from(("maximum", "host-model", "host-passthrough")).map(GuestCpu),
    st.builds(
        GuestCpu,
        mode=st.just("custom"),
        model=st.sampled_from(("Nehalem", "qemu64")),
        features=st.sets(st.sampled_from(("vmx", "aes", "avx", "ssse3"))).map(
            lambda names: tuple(sorted(names))
        ),
    ),
)
DEVICES = st.lists(
    st.builds(
        Device,
        path=PATHS,
        format=st.sampled_from(("qcow2", "raw")),
        serial=st.text("0123456789abcdef", min_size=1, max_size=32),
        readonly=st.booleans(),
        cdrom=st.booleans(),
        boot=st.integers(0, 16),
        medium=st.booleans(),
    ),
    max_size=17,
    unique_by=lambda device: device.serial,
).map(tuple)
MACS = st.binary(min_size=5, max_size=5).map(lambda octets: "52:" + octets.hex(":"))
NETWORK_NAMES = st.sampled_from(("default", "lan", "it's <lan>"))
FILTERS = st.sampled_from(("", "clean-traffic"))
LINKS = st.one_of(
    st.just(USER),
    st.builds(Link, network=NETWORK_NAMES, portgroup=st.sampled_from(("", "fast")), filter=FILTERS),
    st.builds(
        Link,
        bridge=st.sampled_from(("br0", "br-lan")),
        vlan=st.sampled_from((0, 1, 4094)),
        virtualport=st.sampled_from(("", "openvswitch")),
        filter=FILTERS,
    ),
)


@st.composite
def wire(draw: st.DrawFn) -> Wire:
    link = draw(LINKS)
    ip = draw(st.sampled_from(("", "10.66.10.2"))) if link.filter else ""
    return Wire(draw(MACS), link, ip=ip)


WIRES = st.tuples(
    st.lists(wire(), min_size=1, max_size=16, unique_by=lambda wire: wire.mac), st.booleans()
).map(lambda drawn: (replace(drawn[0][0], main=drawn[1]), *drawn[0][1:]))
METADATA = st.builds(
    DomainMetadata,
    fleet=NAMES,
    namespace=NAMES,
    name=NAMES,
    uid=NAMES,
    created=st.just(CREATED),
    generation=st.integers(1, 10**9),
    source=PATHS,
    instance=NAMES,
    power=st.builds(Power, on=st.booleans(), by=NAMES, at=SECONDS, instance=NAMES),
    labels=st.dictionaries(NAMES, TEXT, max_size=4),
    annotations=st.dictionaries(NAMES, TEXT, max_size=4),
    spec=st.dictionaries(TEXT, VALUES, max_size=5),
    operations=st.lists(
        st.builds(
            Recorded,
            uid=NAMES,
            type=st.sampled_from(("Start", "Stop", "Restart", "Automatic", "Reboot")),
            force=st.booleans(),
            target=NAMES,
            at=SECONDS,
            cancelled=st.booleans(),
        ),
        max_size=KEPT_OPERATIONS,
    ).map(tuple),
)
NODES = st.builds(
    replace,
    st.just(NODE),
    session=st.booleans(),
    cpu_tuning=st.booleans(),
    virt_type=st.sampled_from(("kvm", "qemu")),
    networks=st.sets(st.sampled_from(("default", "other"))).map(frozenset),
)
POSITIONS = st.tuples(
    st.sampled_from(("scsi", "sata", "virtio", "ide", "usb")), st.integers(-9, 300)
)
ADDRESSES = st.just(()) | st.builds(pci, st.integers(0, 16), st.integers(0, 31))


@st.composite
def slots(draw: st.DrawFn, devices: tuple[Device, ...], wires: tuple[Wire, ...]) -> Slots:
    """Where people may have put what the VM has, and what it no longer has."""
    serials = st.sampled_from([*(device.serial for device in devices), "gone"])
    return Slots(
        draw(st.dictionaries(serials, POSITIONS)),
        draw(st.dictionaries(st.sampled_from([*(wire.mac for wire in wires), "gone"]), ADDRESSES)),
    )


def fitting(spec: dict[str, Any], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """As many as a manifest that holds can ask for: IDE has only few places."""
    if spec["osType"] != "Legacy":
        return devices
    devices = devices[:VIRTIO_DISKS]
    on_ide = [each for each in devices if each.cdrom or not spec["enableParavirtualization"]]
    return tuple(each for each in devices if each not in on_ide[LEGACY_DEVICES:])


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    os_type = draw(st.sampled_from(("Generic", "Windows", "Legacy")))
    machines = LEGACY_MACHINES if os_type == "Legacy" else MACHINES
    spec: dict[str, Any] = {
        "cpu": {
            "cores": draw(CORES),
            "coreFraction": draw(st.integers(1, 100).map("{}%".format)),
        },
        "memory": {"size": draw(SIZES)},
        "bootloader": draw(st.sampled_from(("BIOS", "EFI", "EFIWithSecureBoot"))),
        "osType": os_type,
        "enableParavirtualization": draw(st.booleans()),
    }
    devices = fitting(spec, draw(DEVICES))
    wires = draw(WIRES)[: LEGACY_INTERFACES if os_type == "Legacy" else None]
    return Wanted(
        name=draw(NAMES),
        uuid=str(draw(st.uuids())),
        metadata=draw(METADATA),
        spec=machine_spec(spec),
        node=draw(NODES),
        cpu=draw(CPUS),
        devices=devices,
        wires=wires,
        console_log=draw(PATHS),
        machine=draw(st.sampled_from(machines)),
        slots=draw(slots(devices, wires)),
    )


@given(wanted())
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back(each: Wanted) -> None:
    facts = expect(each)
    assert read(DomainText(render(facts))) == facts


@given(wanted(), wanted())
@settings(max_examples=100, deadline=None)
def test_two_definitions_differ_where_their_facts_do(one: Wanted, other: Wanted) -> None:
    """What is compared is what is written: no element of a definition is left out of its facts."""
    first, second = expect(one), replace(expect(other), name=one.name, uuid=one.uuid)
    second = replace(second, metadata=first.metadata)
    assert (render(first) == render(second)) == (differing(first, second) == [])


@given(wanted())
@settings(max_examples=100, deadline=None)
def test_a_device_by_itself_is_written_as_in_the_definition(each: Wanted) -> None:
    """So that it can be plugged into a machine that runs, and be the same after a restart."""
    facts = expect(each)
    alone = [disk_xml(disk) for disk in facts.disks.disks]
    alone += [interface_xml(interface) for interface in facts.interfaces.interfaces]
    root = parse(render(facts))
    assert [canonical(parse(xml)) for xml in alone] == [
        canonical(device)
        for device in (*root.iterfind("devices/disk"), *root.iterfind("devices/interface"))
    ]


def canonical(element: Element) -> bytes:
    return etree.tostring(element, method="c14n", with_tail=False)


@given(wanted())
@settings(max_examples=300, deadline=None)
def test_no_two_disks_are_in_one_place(each: Wanted) -> None:
    disks = expect(each).disks.disks
    assert len({(disk.bus, disk.position) for disk in disks}) == len(each.devices)
    assert len({(disk.bus, disk.target) for disk in disks}) == len(each.devices)


@given(wanted(), st.randoms(use_true_random=False), DEVICES, WIRES)
@settings(max_examples=300, deadline=None)
def test_what_is_there_stays_in_its_place_whatever_comes_and_goes(
    before: Wanted, order: Random, coming: tuple[Device, ...], more: tuple[Wire, ...]
) -> None:
    known = {device.serial for device in before.devices}
    left = [device for device in before.devices if order.random() < 0.5]
    new = [device for device in coming if device.serial not in known]
    known_wires = {each.mac for each in before.wires}
    new_wires = [replace(each, main=False) for each in more if each.mac not in known_wires]
    devices = left + new
    order.shuffle(devices)
    first = expect(before)
    fits = fitting(dict(before.spec), tuple(devices))
    wires = [each for each in before.wires if order.random() < 0.7] + new_wires
    order.shuffle(wires)
    wires = wires[: len(before.wires)]
    wired = {each.mac for each in wires}
    after = expect(replace(before, devices=fits, wires=tuple(wires), slots=slots_of([first])))
    staying = {device.serial for device in left if device in fits}
    assert {
        disk.serial: (disk.bus, disk.position)
        for disk in after.disks.disks
        if disk.serial in staying
    } == {
        disk.serial: (disk.bus, disk.position)
        for disk in first.disks.disks
        if disk.serial in staying
    }
    assert {
        each.mac: each.address for each in after.interfaces.interfaces if each.mac in known_wires
    } == {each.mac: each.address for each in first.interfaces.interfaces if each.mac in wired}


@given(wanted())
@settings(max_examples=100, deadline=None)
def test_no_two_interfaces_are_in_one_place(each: Wanted) -> None:
    interfaces = expect(each).interfaces.interfaces
    assert {interface.mac for interface in interfaces} == {wire.mac for wire in each.wires}
    assert len({interface.address for interface in interfaces}) == len(each.wires)
