"""Volumes as libvirt's XML describes them."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from agent.core.host import RawDomain, RawVolume


def volume_xml(
    name: str, volume_format: str, capacity: int, backing_path: str = "", backing_format: str = ""
) -> str:
    """A volume to create. `capacity` in bytes; an overlay's base is given with its format, never
    to be guessed.
    """
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "capacity", unit="bytes").text = str(capacity)
    etree.SubElement(root, "allocation").text = "0"
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", type=volume_format)
    if volume_format == "qcow2":
        etree.SubElement(target, "compat").text = "1.1"  # libvirt's own default lacks zero clusters
    if backing_path:
        backing = etree.SubElement(root, "backingStore")
        etree.SubElement(backing, "path").text = backing_path
        etree.SubElement(backing, "format", type=backing_format)
    return etree.tostring(root, encoding="unicode")


def mentions(domain: RawDomain, name: str) -> bool:
    """True if a domain, on or off, refers to a volume of that name. One that merely looks alike
    counts too.
    """
    marks = tuple(before + name for before in "/'\">")
    return any(mark in xml for xml in (domain.inactive_xml, domain.active_xml) for mark in marks)


def users_of(
    name: str, domains: Iterable[RawDomain], volumes: Iterable[RawVolume]
) -> tuple[str, ...]:
    """Whoever refers to a volume of that name, in words: any domain, whosever it is, on or off, and
    volumes that are based on it. A name that merely looks alike counts too.
    """
    found = [f"domain {domain.name}" for domain in domains if mentions(domain, name)]
    found += [
        f"volume {volume.name}"
        for volume in volumes
        if volume.backing_path.rpartition("/")[2] == name
    ]
    return tuple(sorted(found))
