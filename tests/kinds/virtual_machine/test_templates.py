"""Templates print. What there is to decide is decided by the elements, whose facts a template gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from agent.kinds.virtual_machine import elements

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
