"""Any value as people read it: lists of alike things as tables, things as names with values. What
names another object leads to it, whatever the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.core.schema import Catalogue

MOST_COLUMNS = 6
Find = Callable[[str, str], str]
"""The address of the object of a kind and name; empty if there is none."""


def shape(catalogue: Catalogue, value: Any, find: Find) -> dict[str, Any]:
    """`as` says which: text, list, table or fields."""
    if isinstance(value, Mapping):
        fields = [(str(name), _field(catalogue, name, part, find)) for name, part in value.items()]
        named = _named(value, find)
        return {
            "as": "fields",
            "fields": [(name, _linked(name, each, named)) for name, each in fields],
        }
    if isinstance(value, list | tuple):
        return _listed(catalogue, value, find)
    return text(value)


def text(value: Any, href: str = "") -> dict[str, Any]:
    told = {True: "true", False: "false", None: ""}
    plain = told[value] if value is None or isinstance(value, bool) else str(value)
    return {"as": "text", "text": plain, "href": href}


def _listed(catalogue: Catalogue, values: Sequence[Any], find: Find) -> dict[str, Any]:
    if not values or not all(isinstance(each, Mapping) for each in values):
        return {"as": "list", "items": [shape(catalogue, each, find) for each in values]}
    columns = list(dict.fromkeys(name for each in values for name in each))
    if len(columns) > MOST_COLUMNS:
        return {"as": "list", "items": [shape(catalogue, each, find) for each in values]}
    rows = []
    for each in values:
        named = _named(each, find)
        cells = ((name, _field(catalogue, name, each.get(name), find)) for name in columns)
        rows.append([_linked(name, cell, named) for name, cell in cells])
    return {"as": "table", "columns": columns, "rows": rows}


def _named(value: Mapping[str, Any], find: Find) -> str:
    """Where the object is that a thing names by kind and name."""
    kind, name = value.get("kind"), value.get("name")
    return find(kind, name) if isinstance(kind, str) and isinstance(name, str) else ""


def _linked(name: str, part: dict[str, Any], href: str) -> dict[str, Any]:
    return {**part, "href": href} if name == "name" and href and part["as"] == "text" else part


def _field(catalogue: Catalogue, name: str, value: Any, find: Find) -> dict[str, Any]:
    """A field such as `nodeName` or `virtualMachineName` names an object of that kind."""
    if isinstance(value, str) and name.endswith("Name"):
        kind = _kind(catalogue, name.removesuffix("Name"))
        return text(value, find(kind, value) if kind else "")
    return shape(catalogue, value, find)


def _kind(catalogue: Catalogue, word: str) -> str:
    name = word[:1].upper() + word[1:]
    return name if name in catalogue.kinds else ""
