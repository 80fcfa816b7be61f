"""A domain's XML as a tree, and our metadata in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from agent.core.metadata import DomainMetadata, to_xml
from agent.core.xml import Element, every

_AGENT_CONNECTED = re.compile(r"name=.org\.qemu\.guest_agent\.0. state=.connected.")
_MEMORY = re.compile(r"<memory unit=.KiB.>(\d+)</memory>")
_MAC = re.compile(r"<mac address=.([0-9a-f:]{17})")
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    remove_comments=True,
    huge_tree=True,
    collect_ids=False,  # an index that nothing asks, and a fifth of the time
)


def memory_of(xml: str) -> int:
    """Bytes of memory that a domain may have, as libvirt writes it; 0 where it says nothing."""
    found = _MEMORY.search(xml)
    return int(found[1]) << 10 if found else 0


def parse(xml: str) -> Element:
    """A domain's XML as a tree. Entities and the network are off: parts of it come from people."""
    root: Element = etree.fromstring(xml.encode(), _PARSER)
    return root


def with_metadata(xml: str, metadata: DomainMetadata) -> str:
    """A domain's XML with other metadata of ours, and all else as it stands there, what we do not
    know included.
    """
    return with_metadata_xml(xml, to_xml(metadata))


def with_drivers(xml: str, drivers: Mapping[str, Mapping[str, str]]) -> str:
    """A domain's XML with other attributes of how disks are read and written, by serial number."""
    root = parse(xml)
    for serial, attributes in drivers.items():
        disk = _disk(root, serial)
        driver = disk.find("driver") if disk is not None else None
        if driver is not None:
            for name, value in attributes.items():
                driver.set(name, value)
    return etree.tostring(root, encoding="unicode")


def bare(name: str, uuid: str, metadata: DomainMetadata) -> str:
    """The XML of a domain of which no more is known than what it remembers."""
    root = etree.Element("domain")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "uuid").text = uuid
    return with_metadata(etree.tostring(root, encoding="unicode"), metadata)


def with_metadata_xml(xml: str, metadata: str) -> str:
    """As with_metadata, for metadata that is written already."""
    root = parse(xml)
    new = etree.fromstring(metadata)  # made by us
    parent = root.find("metadata")
    if parent is None:
        parent = etree.Element("metadata")
        uuid = root.find("uuid")
        root.insert(0 if uuid is None else root.index(uuid) + 1, parent)
    old = parent.find(new.tag)
    if old is None:
        parent.append(new)
    else:
        parent.replace(old, new)
    return etree.tostring(root, encoding="unicode")


def has_agent(xml: str) -> bool:
    """True if the agent of a running guest has opened its channel. Found without parsing, for many
    domains are asked at every read.
    """
    return _AGENT_CONNECTED.search(xml) is not None


def cards(xml: str) -> frozenset[str]:
    """MAC addresses of a domain's interfaces; found without parsing, as `has_agent`."""
    return frozenset(_MAC.findall(xml))


def has_device(xml: str, name: str) -> bool:
    """True if a domain has a disk with that serial number, or an interface with that MAC
    address.
    """
    return bool(xml) and _device(parse(xml), name) is not None


def with_device(xml: str, device: str) -> str:
    """A domain's XML with one more device."""
    root = parse(xml)
    devices = root.find("devices")
    if devices is None:  # of a domain that is only remembered no more is known
        devices = etree.SubElement(root, "devices")
    devices.append(parse(device))
    return etree.tostring(root, encoding="unicode")


def without_device(xml: str, name: str) -> str:
    """A domain's XML without the disk with that serial number, or the interface with that MAC
    address.
    """
    root = parse(xml)
    device = _device(root, name)
    if device is not None and (parent := device.getparent()) is not None:
        parent.remove(device)
    return etree.tostring(root, encoding="unicode")


def named(device: Element) -> str:
    """What tells a device apart: a disk's serial number, an interface's MAC address; empty where it
    has none.
    """
    mac = device.find("mac")
    return device.findtext("serial", "") if mac is None else mac.get("address", "")


@dataclass(frozen=True)
class Copy:
    """A disk of a running domain that is being copied."""

    path: str
    """Where to."""
    complete: bool
    """True once what is written goes to both."""


def copies(root: Element) -> Mapping[str, Copy]:
    """The disks of a running domain that are being copied, by serial number."""
    found = {}
    for disk in every(root, "devices", "disk"):
        mirror = disk.find("mirror")
        if mirror is not None and mirror.get("job", "copy") == "copy":
            source = mirror.find("source")
            path = "" if source is None else source.get("file") or source.get("dev") or ""
            found[disk.findtext("serial", "")] = Copy(path, mirror.get("ready") == "yes")
    return found


def with_copy(xml: str, serial: str, disk: str, *, complete: bool = True) -> str:
    """A running domain's XML with a disk copied to the source of that XML."""
    root, new = parse(xml), parse(disk)
    of = _disk(root, serial)
    source, driver = new.find("source"), new.find("driver")
    if of is not None and source is not None and driver is not None:
        mirror = etree.SubElement(of, "mirror", type=new.get("type", "file"), job="copy")
        if complete:
            mirror.set("ready", "yes")
        etree.SubElement(mirror, "format", type=driver.get("type", ""))
        mirror.append(source)
    return etree.tostring(root, encoding="unicode")


def without_copy(active: str, inactive: str, serial: str, *, pivot: bool) -> tuple[str, str]:
    """The XML of a running domain, and its definition, once a copy of a disk has ended."""
    root = parse(active)
    disk = _disk(root, serial)
    mirror = disk.find("mirror") if disk is not None else None
    if disk is None or mirror is None:
        return active, inactive
    disk.remove(mirror)
    if not pivot:
        return etree.tostring(root, encoding="unicode"), inactive
    _go_over(disk, mirror)
    defined = parse(inactive) if inactive else None
    other = _disk(defined, serial) if defined is not None else None
    if defined is not None and other is not None:
        _go_over(other, mirror)
        inactive = etree.tostring(defined, encoding="unicode")
    return etree.tostring(root, encoding="unicode"), inactive


def _go_over(disk: Element, mirror: Element) -> None:
    source, form = mirror.find("source"), mirror.find("format")
    old, driver = disk.find("source"), disk.find("driver")
    if source is None or old is None or driver is None or form is None:
        return
    disk.set("type", mirror.get("type", "file"))
    disk.replace(old, deepcopy(source))
    driver.set("type", form.get("type", ""))
    for below in disk.findall("backingStore"):
        disk.remove(below)


def _device(root: Element, name: str) -> Element | None:
    found = (each for tag in ("disk", "interface") for each in every(root, "devices", tag))
    return next((device for device in found if named(device) == name), None)


def _disk(root: Element, serial: str) -> Element | None:
    disks = every(root, "devices", "disk")
    return next((disk for disk in disks if disk.findtext("serial") == serial), None)
