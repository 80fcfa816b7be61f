"""Ways through a tree of XML lead where lxml's own paths lead."""

from __future__ import annotations

import pytest
from lxml import etree

from agent.core.xml import every, first

TREE = etree.fromstring(
    "<a><x/><b/><b><c n='1'/><d/></b><b><c n='2'><c n='3'/></c><c n='4'/></b><f xmlns='urn:a/b'/></a>"
)


@pytest.mark.parametrize(
    "tags",
    [
        ("b",),
        ("b", "c"),
        ("b", "c", "c"),
        ("b", "d"),
        ("*",),
        ("b", "*"),
        ("c",),
        ("x", "c"),
        ("b", "d", "c"),
    ],
)
def test_every_child_of_children_is_found_in_its_order(tags: tuple[str, ...]) -> None:
    wanted = TREE.findall("/".join(tags))
    assert list(every(TREE, *tags)) == wanted
    assert first(TREE, *tags) is next(iter(wanted), None)


def test_a_tag_may_have_a_name_space_with_slashes() -> None:
    assert first(TREE, "{urn:a/b}f") is TREE[-1]
