"""The definition of a domain: what is wanted as facts, facts as XML, XML as facts again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent.core.domain_text import DomainText
from agent.core.metadata import DomainMetadata, from_domain, to_xml
from agent.core.model import Json
from agent.core.xml import Element, first
from agent.kinds.virtual_machine.elements import (
    channels,
    chipset,
    cpu,
    disks,
    features,
    firmware,
    interfaces,
    memory,
)
from agent.kinds.virtual_machine.elements.address import Address
from agent.kinds.virtual_machine.elements.plain import there
from agent.kinds.virtual_machine.elements.xml import content
from agent.kinds.virtual_machine.wanted import Slots, Wanted

OF_DOMAIN = (memory, cpu, firmware, features)
"""They read children of the domain."""
OF_DEVICES = (disks, interfaces, channels)
"""They read devices."""
ELEMENTS = (*OF_DOMAIN, *OF_DEVICES)
"""In the order in which libvirt prints them. Each gives one field of `DomainFacts` that bears its
name.
"""
DEVICES = tuple(tag for element in OF_DEVICES for tag in element.READS)
"""Tags of the devices that a definition of ours is told by."""
_CHILDREN = tuple(tag for element in OF_DOMAIN for tag in element.READS)


@dataclass(frozen=True)
class DomainFacts:
    """Everything that a definition of ours expresses."""

    name: str
    uuid: str
    metadata: DomainMetadata | None
    memory: memory.Memory
    cpu: cpu.Cpu
    firmware: firmware.Firmware
    features: features.Features
    disks: disks.Disks
    interfaces: interfaces.Interfaces
    channels: channels.Channels


Part = (
    memory.Memory
    | cpu.Cpu
    | firmware.Firmware
    | features.Features
    | disks.Disks
    | interfaces.Interfaces
    | channels.Channels
)
"""What one element says."""


def expect(wanted: Wanted) -> DomainFacts:
    parts = {name: element.expect(wanted) for name, element in _PARTS}
    return DomainFacts(name=wanted.name, uuid=wanted.uuid, metadata=wanted.metadata, **parts)


def read(text: DomainText) -> DomainFacts:
    name, uuid, metadata = text.read(_identity, ("name", "uuid", "metadata"))
    machine = text.read(_of_domain, _CHILDREN)
    devices = text.read_devices(_of_devices, DEVICES)
    return DomainFacts(name, uuid, metadata, **machine, **devices)


def _identity(root: Element) -> tuple[str, str, DomainMetadata | None]:
    return content(first(root, "name")), content(first(root, "uuid")), from_domain(root)


def _of_domain(root: Element) -> dict[str, Any]:
    return {name: element.read(root) for name, element in _PARTS if element in OF_DOMAIN}


def _of_devices(root: Element) -> dict[str, Any]:
    return {name: element.read(root) for name, element in _PARTS if element in OF_DEVICES}


def differing(one: DomainFacts, other: DomainFacts) -> list[str]:
    """Names of the elements in which two definitions differ; metadata is not one of them."""
    return [name for name in NAMES if getattr(one, name) != getattr(other, name)]


def plain(name: str, facts: Part) -> dict[str, Json]:
    """What an element of that name says, as a nested map."""
    element = dict(_PARTS)[name]
    return {key: there(value) for key, value in element.plain(facts).items() if value is not None}


def render(facts: DomainFacts) -> str:
    """The definition as libvirt takes it."""
    assert facts.metadata is not None  # noqa: S101  # what we define always has it
    return _print(
        "domain",
        name=facts.name,
        uuid=facts.uuid,
        metadata=Markup(to_xml(facts.metadata)),  # noqa: S704  # made by lxml
        hardware=_hardware(
            facts.firmware.i440fx, facts.disks.sata_controllers, facts.interfaces.more_ports
        ),
        **{name: getattr(facts, name) for name in NAMES},
    )


@lru_cache(maxsize=8)  # half of each definition, and the same for all machines of a chipset
def _hardware(i440fx: bool, sata: int, more_ports: bool) -> Markup:
    hardware = chipset.hardware(i440fx=i440fx, sata=sata, more_ports=more_ports)
    return Markup(_print("hardware", hardware=hardware))  # noqa: S704  # made by a template


def disk_xml(disk: disks.Disk) -> str:
    """A disk by itself, as it stands in a definition."""
    return _print("disk", disk=disk)


def interface_xml(interface: interfaces.Interface) -> str:
    """An interface by itself, as it stands in a definition."""
    return _print("interface", interface=interface)


def _print(template: str, **view: object) -> str:
    return _environment().get_template(f"{template}.xml.j2").render(view)


def slots(facts: Iterable[DomainFacts]) -> Slots:
    """Where devices are, in the first definition that has them."""
    of_disks: dict[str, tuple[str, int]] = {}
    of_interfaces: dict[str, Address] = {}
    for definition in facts:
        for serial, position in disks.slots(definition.disks).items():
            of_disks.setdefault(serial, position)
        for mac, address in interfaces.slots(definition.interfaces).items():
            of_interfaces.setdefault(mac, address)
    return Slots(of_disks, of_interfaces)


_PARTS = tuple((element.__name__.rpartition(".")[2], element) for element in ELEMENTS)
NAMES = tuple(name for name, _ in _PARTS)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agent.kinds.virtual_machine", "elements"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        auto_reload=False,  # else each template's file is looked at whenever it prints
    )
    environment.filters["attributes"] = _attributes
    return environment


@lru_cache(maxsize=256)  # machines have much the same devices in the same places
def _attributes(pairs: tuple[tuple[str, str], ...]) -> Markup:
    """Names and values as attributes of an element."""
    return Markup("").join(Markup(" {}='{}'").format(*pair) for pair in pairs)
