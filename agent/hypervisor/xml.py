"""Parsing of XML that libvirt wrote: no entities, no network."""

from __future__ import annotations

from lxml import etree

from agent.core.xml import first

_PARSER = etree.XMLParser(
    resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
)


def parse(text: str) -> etree._Element:
    return etree.fromstring(text.encode(), _PARSER)


def text_at(element: etree._Element, path: str) -> str:
    """The text of the first match, or nothing."""
    child = first(element, *path.split("/"))
    return "" if child is None else (child.text or "").strip()


def bytes_at(element: etree._Element, path: str) -> int:
    """A size as libvirt prints it, in bytes; 0 where there is none."""
    child = first(element, *path.split("/"))
    if child is None or not child.text:
        return 0
    return int(child.text) * _UNITS[child.get("unit", "bytes")]


_UNITS = {"bytes": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
