"""Where things stand: rules of the house that no linter has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from agent.core.annotations import ANNOTATIONS

AGENT = Path(__file__).parents[1] / "agent"


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a module with its line, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {each.value for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
            yield node.lineno, node.value


def test_names_of_annotations_stand_in_one_module() -> None:
    found = {
        path.relative_to(AGENT).as_posix()
        for path in AGENT.rglob("*.py")
        if any(name in text for _, text in texts(path) for name in ANNOTATIONS)
    }
    assert found == set()
