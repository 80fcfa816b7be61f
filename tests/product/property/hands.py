"""What people change by hand in a domain's XML."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

Edit = Callable[[etree._Element], object]


def _text(path: str, value: str) -> Edit:
    def change(root: etree._Element) -> None:
        if (found := root.find(path)) is not None:
            found.text = value

    return change


def _attribute(path: str, name: str, value: str) -> Edit:
    def change(root: etree._Element) -> None:
        if (found := root.find(path)) is not None:
            found.set(name, value)

    return change


def _remove(path: str) -> Edit:
    def change(root: etree._Element) -> None:
        found = root.find(path)
        if found is not None and (parent := found.getparent()) is not None:
            parent.remove(found)

    return change


def _together(*edits: Edit) -> Edit:
    def change(root: etree._Element) -> None:
        for edit in edits:
            edit(root)

    return change


def _read_only(root: etree._Element) -> None:
    found = root.find("devices/disk")
    if found is not None and found.find("readonly") is None:
        etree.SubElement(found, "readonly")


def _shares(root: etree._Element) -> None:
    tune = root.find("cputune")
    if tune is None:
        tune = etree.SubElement(root, "cputune")
    shares = tune.find("shares")
    if shares is None:
        shares = etree.SubElement(tune, "shares")
    shares.text = "7777"


def _firmware(root: etree._Element) -> None:
    system = root.find("os")
    assert system is not None
    if system.get("firmware") == "efi":
        del system.attrib["firmware"]
        for each in system.findall("firmware"):
            system.remove(each)
    else:
        system.set("firmware", "efi")


HARDWARE: dict[str, Edit] = {
    "cores": _together(_text("vcpu", "7"), _attribute("cpu/topology", "cores", "7")),
    "memory": _together(_text("memory", "777216"), _text("currentMemory", "777216")),
    "ballooned": _text("currentMemory", "65536"),
    "shares": _shares,
    "boot order": _remove("devices/disk/boot"),
    "disk gone": _remove("devices/disk"),
    "disk read-only": _read_only,
    "interface gone": _remove("devices/interface"),
    "model": _attribute("devices/interface/model", "type", "rtl8139"),
    "channel gone": _remove("devices/channel"),
    "firmware": _firmware,
    "clock": _attribute("clock", "offset", "variable"),
}
"""What a definition says of the machine."""

WORDS: dict[str, Edit] = {
    "labels": _text("metadata/*/{*}labels", '{"tier": "by hand"}'),
    "generation": _attribute("metadata/*", "source", "by hand"),
}
"""Metadata that nothing is decided from."""

FORGETTING: dict[str, Edit] = {
    "metadata gone": _remove("metadata/*"),
    "metadata broken": _attribute("metadata/*", "generation", "many"),
}
"""What makes a domain forget who it is."""


def writable_disk(xml: str) -> str:
    """The serial number of a definition's first disk of its own; empty if it has none."""
    for disk in etree.fromstring(xml).iterfind("devices/disk"):
        source = disk.find("source")
        path = "" if source is None else source.get("file", "")
        own = "_disk_" in path or "/layer-" in path
        if own and disk.find("readonly") is None:
            return disk.findtext("serial", "")
    return ""


def merged(xml: str, path: str, base: str) -> str:
    """A definition with a disk on the file below again."""
    if path not in xml:
        return xml
    root = etree.fromstring(xml)
    for layer in list(root.iter("disk", "backingStore")):
        source, below = layer.find("source"), layer.find("backingStore")
        if source is None or source.get("file") != path:
            continue
        source.set("file", base)
        if below is not None:
            lower = below.find("backingStore")
            layer.remove(below)
            if lower is not None:
                layer.append(lower)
    return etree.tostring(root, encoding="unicode")
