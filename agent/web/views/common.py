"""What several views say alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.overview import Weight
from agent.core.schema import Catalogue, Kind
from agent.web.pages import place
from agent.web.reading import Row

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+")
_TONES = {
    Weight.ACT: "act",
    Weight.RESTART: "wait",
    Weight.UNDER_WAY: "moving",
}
TONES: Mapping[str, str] = {
    "act": "somebody has to look at it",
    "wait": "waits for a restart",
    "moving": "gets there by itself",
    "rest": "at rest",
    "fine": "as it should be",
}
"""How an object stands, the most urgent first."""

_RESTING = ("", "Stopped", "Failed")
"""Phases of what asks for nobody. An operation that failed has ended; its machine says the rest."""


def tone(row: Row) -> str:
    by_weight = _TONES.get(row.weight) if row.weight is not None else None
    if by_weight:
        return by_weight
    return "rest" if row.phase in _RESTING else "fine"


def word_of(kind: Kind) -> str:
    """What addresses call a kind: `vms`, else its plural."""
    shorts = (short for short in kind.short_names if f"{short}s" in kind.short_names)
    return next((f"{short}s" for short in shorts), kind.plural)


def title_of(kind: Kind) -> str:
    """`Virtual machine classes`."""
    words = _WORD.findall(kind.name) or [kind.name]
    first, *rest = words
    plain = " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])
    return plain + kind.plural[len(kind.name) :]


def short_of(kind: Kind) -> str:
    """`Machines`, `Disks`, `Operations`: where all are virtual, and most of machines."""
    title = title_of(kind).removeprefix("Virtual ")
    rest = title.removeprefix("machine ")
    return rest[:1].upper() + rest[1:]


def href(row: Row) -> str:
    parts = (row.namespace, row.name) if row.kind.namespaced else (row.name,)
    return place(word_of(row.kind), *parts)


def link(row: Row) -> dict[str, Any]:
    """An object, as a line of text that leads to it."""
    return {
        "kind": row.kind.name,
        "namespace": row.namespace,
        "name": row.name,
        "label": row.label,
        "phase": row.phase,
        "tone": tone(row),
        "href": href(row),
    }


def navigation(catalogue: Catalogue, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The kinds that have objects, as reports have them, and those that everybody looks for."""
    return [
        {
            "title": short_of(kind),
            "href": place(word_of(kind)),
            "here": word_of(kind),
            "count": counts.get(kind.name, 0),
        }
        for kind in catalogue.in_order
        if counts.get(kind.name) or kind.machine
    ]


def first(items: Iterable[Any], most: int) -> list[Any]:
    return [item for item, _ in zip(items, range(most), strict=False)]
