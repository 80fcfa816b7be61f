"""A domain's XML, of which only what is read is parsed, and the same text once.

The domains of a host have most of their XML in common, and nobody reads the half of it. As libvirt
prints it, each element begins a line that is indented by its depth: so it is cut into elements
without being parsed, and what a reader says of some text it says of the same text ever after. XML
that stands in another way, or that holds more than elements, is parsed whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from agent.core.domain_xml import parse
from agent.core.xml import Element

T = TypeVar("T")

_BEGIN = re.compile(r"<domain(?: [^<>]*)?>")
_INSTANCE = re.compile(r" id='\d+'")
_CHILD, _DEVICE = re.compile(r"\n  <(?!/)"), re.compile(r"\n    <(?!/)")
_DEVICES, _DEVICES_END, _END = "\n  <devices>", "\n  </devices>", "\n</domain>\n"
_CONTROLLER, _CONTROLLER_END = "\n    <controller ", "\n    </controller>"
_ELEMENT = re.compile(r"([^\s<>/]+)(?: [^<>]*)?(?:/>|(?<!/)>(.*)</\1>)", re.DOTALL)


class DomainText:
    """A domain's XML, for functions that read its tree. Such a function is named with the tags of
    all that it looks at beside the domain's type. What it says may be said to others, too: it must
    not be changed.
    """

    def __init__(self, xml: str) -> None:
        self._cut = _cut(xml)
        self._root = parse(xml) if self._cut is None else None

    @property
    def apart(self) -> bool:
        """True if it is not parsed whole."""
        return self._cut is not None

    def read(self, reader: Callable[[Element], T], tags: tuple[str, ...]) -> T:
        """What a reader says that looks at children of the domain."""
        if self._cut is None:
            return self._whole(reader)
        begin, children, _ = self._cut
        said: T = _said(reader, begin, _with(tags, children), "</domain>")
        return said

    def read_devices(self, reader: Callable[[Element], T], tags: tuple[str, ...]) -> T:
        """What a reader says that looks at devices. Controllers cannot be read so."""
        if self._cut is None:
            return self._whole(reader)
        begin, _, devices = self._cut
        said: T = _said(reader, begin, "<devices>", _with(tags, devices), "</devices></domain>")
        return said

    def _whole(self, reader: Callable[[Element], T]) -> T:
        assert self._root is not None  # noqa: S101  # where nothing is cut
        return reader(self._root)


@lru_cache(maxsize=64)  # what most domains say, and what the last ones said
def _said(reader: Callable[[Element], Any], *xml: str) -> Any:  # as the reader says
    return reader(_parsed("".join(xml)))


@lru_cache(maxsize=2)  # devices have several readers
def _parsed(xml: str) -> Element:
    return parse(xml)


_Elements = tuple[list[str], Mapping[str, tuple[int, ...]]]
"""Texts of elements but for the `<` that they begin with, and where those of each tag are."""


def _with(tags: tuple[str, ...], elements: _Elements) -> str:
    texts, places = elements
    return "".join([f"<{texts[place]}" for tag in tags for place in places.get(tag, ())])


def _cut(xml: str) -> tuple[str, _Elements, _Elements] | None:
    """The tag that begins a domain, without the number of its instance, the domain's other
    children, and its devices but for the controllers. None if it is not as libvirt prints it.
    """
    head, _, rest = xml.partition(_DEVICES)
    inner, _, tail = rest.partition(_DEVICES_END)
    begin, *texts = _CHILD.split(head)
    space, *more = _CHILD.split(tail.removesuffix(_END))
    if space or not _BEGIN.fullmatch(begin) or not tail.endswith(_END):
        return None
    children, devices = _elements(texts + more), _devices(inner)
    if children is None or devices is None or "devices" in children[1]:
        return None
    return _INSTANCE.sub("", begin), children, devices


def _devices(inner: str) -> _Elements | None:
    """Controllers are half of a machine's devices, one after the other, and the same in most."""
    before, _, rest = inner.partition(_CONTROLLER)
    controllers, _, after = rest.rpartition(_CONTROLLER_END)
    space, *texts = _DEVICE.split(before)
    more_space, *more = _DEVICE.split(after)
    if space or more_space or (controllers and not _are_controllers(controllers)):
        return None
    return _elements(texts + more)


@lru_cache(maxsize=16)
def _are_controllers(text: str) -> bool:
    """True for controllers alone, without the first one's beginning and the last one's end."""
    whole = f"{_CONTROLLER}{text}{_CONTROLLER_END}"
    return all(_tag(element) == "controller" for element in _DEVICE.split(whole)[1:])


def _elements(texts: list[str]) -> _Elements | None:
    places = _places(tuple(map(_tag, texts)))
    return None if places is None else (texts, places)


@lru_cache(maxsize=64)  # most domains have the same elements
def _places(tags: tuple[str, ...]) -> Mapping[str, tuple[int, ...]] | None:
    """Where each tag is. None if one is empty."""
    places: dict[str, tuple[int, ...]] = {}
    for place, tag in enumerate(tags):
        places[tag] = (*places.get(tag, ()), place)
    return None if "" in places else places


@lru_cache(maxsize=128)  # what most domains have, and what the last ones had
def _tag(text: str) -> str:
    """The tag of the element that a text is, but for the `<` that it begins with; empty if it is
    not just one whole element.

    Without comments and the like, each `<` begins a tag. What begins with an element's tag, ends
    with its end, and holds no such end before, is that element.
    """
    element = _ELEMENT.fullmatch(text)
    if element is None or "<!" in text or "<?" in text or f"</{element[1]}" in (element[2] or ""):
        return ""
    return element[1]
