"""Templates print. What there is to decide is decided by the elements, whose facts a template gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, nodes
from lxml import etree

from agent.kinds.virtual_machine import elements
from agent.kinds.virtual_machine.definition import disk_xml
from agent.kinds.virtual_machine.elements.disks import Disk

FOLDER = Path(str(elements.__file__)).parent
DECISIONS = (
    nodes.Compare,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.CondExpr,
    nodes.Call,
    nodes.Assign,
    nodes.Const,
)
"""What a template would decide or calculate with. That something is there to be printed, it may ask."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.xml.j2")), ids=lambda path: path.name)
def test_a_template_decides_nothing(path: Path) -> None:
    tree = Environment(autoescape=True).parse(path.read_text())
    included = {id(each.template) for each in tree.find_all(nodes.Include)}
    found = [each for each in tree.find_all(DECISIONS) if id(each) not in included]
    assert [(each.lineno, type(each).__name__) for each in found] == []


@pytest.mark.parametrize("sign", ["<", ">", "&", "'", '"'])
def test_what_is_printed_says_nothing_but_itself(sign: str) -> None:
    """Names and paths on a host come from others: none of them can add an element."""
    path = f"/pool/a{sign}b/><source file='/etc/passwd'/>"
    disk = Disk(path, "qcow2", "1" * 32, "disk", False, "scsi", 0, 0, 0)
    element = etree.fromstring(disk_xml(disk))
    assert [each.get("file") for each in element.iter("source")] == [path]
