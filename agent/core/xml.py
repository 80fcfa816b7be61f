"""Ways through a tree of XML. Every domain and volume of a host is read, and lxml's own paths take
ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lxml import etree

Element = etree._Element  # noqa: SLF001  # lxml names its element type so


def every(root: Element, *tags: str) -> Iterator[Element]:
    """All elements that are children of children, one tag a generation, in their order."""
    elements: Iterator[Element] = iter((root,))
    for tag in tags:
        elements = _children(elements, tag)
    return elements


def first(root: Element, tag: str, *tags: str) -> Element | None:
    """The first of them."""
    for child in root.iterchildren(tag):
        element = first(child, *tags) if tags else child
        if element is not None:
            return element
    return None


def by_tag(element: Element) -> dict[str, Element]:
    """An element's children, of several with one tag the first."""
    return {str(child.tag): child for child in element.iterchildren(reversed=True)}


def _children(parents: Iterable[Element], tag: str) -> Iterator[Element]:
    for parent in parents:
        yield from parent.iterchildren(tag)
