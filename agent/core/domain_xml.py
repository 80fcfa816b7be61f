"""A domain's XML as a tree, and our metadata in it."""

from __future__ import annotations

from lxml import etree

from agent.core.metadata import DomainMetadata, to_xml
from agent.core.xml import Element, every

_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    remove_comments=True,
    huge_tree=True,
    collect_ids=False,  # an index that nothing asks, and a fifth of the time
)


def parse(xml: str) -> Element:
    """A domain's XML as a tree. Entities and the network are off: parts of it come from people."""
    root: Element = etree.fromstring(xml.encode(), _PARSER)
    return root


def with_metadata(xml: str, metadata: DomainMetadata) -> str:
    """A domain's XML with other metadata of ours, and all else as it stands there, what we do not
    know included.
    """
    return with_metadata_xml(xml, to_xml(metadata))


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


def has_disk(xml: str, serial: str) -> bool:
    """True if a domain has a disk with that serial number."""
    return bool(xml) and _disk(parse(xml), serial) is not None


def with_disk(xml: str, disk: str) -> str:
    """A domain's XML with one more disk."""
    root = parse(xml)
    devices = root.find("devices")
    if devices is None:  # of a domain that is only remembered no more is known
        devices = etree.SubElement(root, "devices")
    devices.append(parse(disk))
    return etree.tostring(root, encoding="unicode")


def without_disk(xml: str, serial: str) -> str:
    """A domain's XML without the disk with that serial number."""
    root = parse(xml)
    disk = _disk(root, serial)
    if disk is not None and (parent := disk.getparent()) is not None:
        parent.remove(disk)
    return etree.tostring(root, encoding="unicode")


def _disk(root: Element, serial: str) -> Element | None:
    disks = every(root, "devices", "disk")
    return next((disk for disk in disks if disk.findtext("serial") == serial), None)
