"""Reading values out of a definition that somebody may have edited."""

from __future__ import annotations

from string import hexdigits

from agent.core.xml import Element, first


def text(root: Element, path: str) -> str:
    return content(first(root, *path.split("/")))


def attribute(root: Element, path: str, name: str) -> str:
    return get(first(root, *path.split("/")), name)


def content(element: Element | None) -> str:
    """The text of an element that may not be there."""
    return "" if element is None else (element.text or "").strip()


def get(element: Element | None, name: str) -> str:
    """An attribute of an element that may not be there."""
    return "" if element is None else element.get(name, "")


def number(value: str) -> int:
    """The number, or -1 where there is none."""
    return int(value) if value.isascii() and value.isdigit() else -1


def hexadecimal(value: str) -> int:
    """The number of a PCI address, such as 0x1f; -1 where there is none."""
    digits = value.removeprefix("0x")
    return int(digits, 16) if digits and all(digit in hexdigits for digit in digits) else -1


UNITS = {
    "": 1024,
    "b": 1,
    "bytes": 1,
    "k": 1024,
    "KiB": 1024,
    "M": 1024**2,
    "MiB": 1024**2,
    "G": 1024**3,
    "GiB": 1024**3,
}


def kibibytes(root: Element, path: str) -> int:
    """A memory size in KiB, whatever unit it is written in; -1 where it cannot be read."""
    child = first(root, path)
    if child is None:
        return -1
    unit = UNITS.get(child.get("unit", ""))
    value = number((child.text or "").strip())
    return -1 if unit is None or value < 0 else value * unit // 1024
