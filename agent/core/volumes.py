"""Volumes as libvirt's XML describes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from lxml import etree

from agent.core.host import RawDomain, RawVolume

_PARSER = etree.XMLParser(
    resolve_entities=False, no_network=True, huge_tree=True
)  # pragma: no mutate: a second lock, for libvirt hands out no document type, and nothing huge
"""Parts of a domain's XML come from people."""


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


UNREAD = " (which does not answer, so that nobody can tell)"
_SERIAL = re.compile(r"<serial>([0-9a-f]{32})</serial>")


def written_by(domain: RawDomain) -> frozenset[str]:
    """Serial numbers that `core.identity.serial` gives, of disks that a domain may write to: also
    of one that lies on another file than it did. Found without parsing, for many domains are asked.
    """
    _, *rest = f"{domain.inactive_xml}{domain.active_xml}".split("<disk ")
    disks = (text.partition("</disk>")[0] for text in rest)
    serials = (_SERIAL.search(disk) for disk in disks if "<readonly" not in disk)
    return frozenset(serial[1] for serial in serials if serial)


def writers_of(name: str, domains: Iterable[RawDomain]) -> tuple[str, ...]:
    """Domains, in words, that run with a volume of that name as a disk that they may write to. What
    such a disk is based on is only read. One that cannot be read may write to any.
    """
    return tuple(
        sorted(
            f"domain {domain.name}{UNREAD if domain.unread else ''}"
            for domain in domains
            if domain.unread or (name in domain.active_xml and _writes(domain.active_xml, name))
        )
    )


def _writes(xml: str, name: str) -> bool:
    for disk in _disks(xml):
        source = disk.find("source")
        volume = "" if source is None else source.get("volume") or _file(disk)
        if volume.rpartition("/")[2] == name and disk.find("readonly") is None:
            return True
    return False


def lies_on(domain: RawDomain, name: str) -> bool:
    """True if a disk of a domain, on or off, has a volume of that name as its source. What it is
    based on, and where it is being copied to, is none.
    """
    found = name in domain.inactive_xml or name in domain.active_xml
    xmls = (domain.inactive_xml, domain.active_xml) if found else ()
    return any(_file(disk).rpartition("/")[2] == name for xml in xmls for disk in _disks(xml))


def opened_by(domain: RawDomain) -> frozenset[str]:
    """As `written_by`, of what runs."""
    return written_by(replace(domain, inactive_xml="")) if domain.active else frozenset()


def mentions(domain: RawDomain, name: str) -> bool:
    """True if a domain, on or off, refers to a volume of that name. One that merely looks alike
    counts too, and whatever may stand in a domain that cannot be read.
    """
    if domain.unread:
        return True
    marks = tuple(before + name for before in "/'\">")
    return any(mark in xml for xml in (domain.inactive_xml, domain.active_xml) for mark in marks)


def untold(domains: Collection[RawDomain], bases: Mapping[str, str]) -> tuple[str, ...]:
    """Domains, in words, of which nobody can tell on what files their disks are based: these lie in
    no storage pool that libvirt knows, and do not run. Any volume may be among them. `bases` is
    what `Host.read_bases` says.
    """
    unknown = {f"domain {domain.name}" for domain in domains if domain.unread}
    for domain in domains:
        known = {**bases, **_running_bases(domain)}
        for path in _overlays(domain):
            base: str | None = path
            walked: set[str] = set()
            while base and base not in walked:
                walked.add(base)
                base = known.get(base)
            if base is None:
                unknown.add(f"domain {domain.name} ({path})")
    return tuple(sorted(unknown))


def _overlays(domain: RawDomain) -> Iterator[str]:
    """Files of a definition's disks that may be based on others."""
    for disk in _disks(domain.inactive_xml):
        driver = disk.find("driver")
        layered = driver is not None and driver.get("type", "raw") != "raw"
        if layered and (path := _file(disk)):
            yield path


def _running_bases(domain: RawDomain) -> Mapping[str, str]:
    """What libvirt lists below the disks of a running instance."""
    bases = {}
    for disk in _disks(domain.active_xml):
        layer: etree._Element | None = disk
        while layer is not None:
            below = layer.find("backingStore")
            path = _file(layer)
            if path and below is not None:
                bases[path] = _file(below)
            layer = below
    return bases


def _file(layer: etree._Element) -> str:
    source = layer.find("source")
    return "" if source is None else source.get("file") or source.get("dev") or ""


def _disks(xml: str) -> Iterator[etree._Element]:
    if xml:
        yield from etree.fromstring(xml.encode(), _PARSER).iterfind("devices/disk")


def users_of(
    name: str, domains: Iterable[RawDomain], volumes: Iterable[RawVolume]
) -> tuple[str, ...]:
    """Whoever refers to a volume of that name, in words: any domain, whosever it is, on or off, and
    volumes that are based on it. A name that merely looks alike counts too.
    """
    users = [
        f"domain {domain.name}{UNREAD if domain.unread else ''}"
        for domain in domains
        if mentions(domain, name)
    ]
    users += [
        f"volume {volume.name}"
        for volume in volumes
        if volume.backing_path.rpartition("/")[2] == name
    ]
    return tuple(sorted(users))
