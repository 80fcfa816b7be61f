"""The objects of one kind: searched, sorted, by namespace, label and phase, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.core.schema import Kind
from agent.core.selector import selector
from agent.web.answers import View
from agent.web.pages import place
from agent.web.reading import Reading, Row
from agent.web.views.common import TONES, href, title_of, tone, word_of

SIZE = 100
MOST = 500
"""Objects of one page."""
PHASE = ".status.phase"
_NAMES = ("NAMESPACE", "NAME")
STATE = "STATE"
"""To sort by how urgent an object is."""


@dataclass(frozen=True)
class Ask:
    """What an address asks for. Empty texts ask for nothing."""

    q: str = ""
    namespace: str = ""
    label: str = ""
    phase: str = ""
    state: str = ""
    sort: str = ""
    """A column, with a dash before it from the other end."""
    wide: str = ""
    """All columns, where it says anything."""
    page: int = 1
    size: int = SIZE

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Ask:
        texts = ("q", "namespace", "label", "phase", "state", "sort", "wide")
        return cls(
            **{name: query.get(name, "").strip() for name in texts},
            page=_number(query.get("page"), 1, 1_000_000),
            size=_number(query.get("size"), SIZE, MOST),
        )

    def query(self) -> dict[str, str]:
        """As it stands in an address."""
        plain = Ask()
        return {
            name: str(value) for name, value in vars(self).items() if value != getattr(plain, name)
        }


def _number(text: str | None, default: int, most: int) -> int:
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) < 8
    return min(max(1, int(text)), most) if plain and text else default


def listing(reading: Reading, kind: Kind, ask: Ask) -> View:
    rows = reading.rows(kind)
    error = ""
    try:
        found = _found(rows, ask)
    except ValueError as wrong:
        found, error = [], str(wrong)
    ordered = _ordered(reading, kind, found, ask.sort)
    pages = max(1, -(-len(ordered) // ask.size))
    page = min(ask.page, pages)
    wide = {column.name for column in kind.columns if column.wide}
    shown_columns = set(_columns(kind)) - (set() if ask.wide else wide)
    shown = ordered[(page - 1) * ask.size : page * ask.size]
    data = {
        "kind": kind.name,
        "word": word_of(kind),
        "heading": title_of(kind),
        "namespaced": kind.namespaced,
        "ask": {**vars(ask), "page": page},
        "error": error,
        "total": len(rows),
        "matching": len(ordered),
        "page": page,
        "pages": pages,
        "previous": _at(kind, ask, page=page - 1) if page > 1 else "",
        "next": _at(kind, ask, page=page + 1) if page < pages else "",
        "namespaces": _counted(row.namespace for row in rows) if kind.namespaced else {},
        "phases": _phases(reading, kind, ask),
        "states": _states(rows, kind, ask),
        "dates": [column.name for column in kind.columns if column.type == "date"],
        "phase_columns": [column.name for column in kind.columns if column.path == PHASE],
        "columns": [_column(kind, ask, name) for name in _columns(kind) if name in shown_columns],
        "wider": _at(kind, ask, wide="" if ask.wide else "1", page=ask.page) if wide else "",
        "items": [_item(kind, ask, row) for row in shown],
    }
    return View(
        "listing.html", title_of(kind), data, place=word_of(kind), status=400 if error else 200
    )


def _found(rows: Sequence[Row], ask: Ask) -> Sequence[Row]:
    """ValueError if the label selector is none."""
    fits = selector(ask.label)
    words = ask.q.lower().split()
    if words:
        rows = [row for row in rows if all(word in row.text for word in words)]
    if ask.namespace:
        rows = [row for row in rows if row.namespace == ask.namespace]
    if ask.phase:
        rows = [row for row in rows if row.phase == ask.phase]
    if ask.state:
        rows = [row for row in rows if tone(row) == ask.state]
    return [row for row in rows if fits(row.labels)] if ask.label else rows


def _ordered(reading: Reading, kind: Kind, rows: Sequence[Row], sort: str) -> Sequence[Row]:
    name = sort.removeprefix("-")
    if name not in (*_columns(kind), STATE):
        return rows
    ranks = reading.ranks(kind, name, _sorter(kind, name))
    return sorted(rows, key=lambda row: ranks[row.path], reverse=sort.startswith("-"))


def _sorter(kind: Kind, name: str) -> Any:
    if name == STATE:
        order = list(TONES)
        return lambda row: order.index(tone(row))
    if name in _NAMES:
        return lambda row: row.namespace if name == "NAMESPACE" else row.name
    at = [column.name for column in kind.columns].index(name)
    return lambda row: row.cells[at]


def _columns(kind: Kind) -> tuple[str, ...]:
    return (*(_NAMES if kind.namespaced else _NAMES[1:]), *(each.name for each in kind.columns))


def _at(kind: Kind, ask: Ask, **other: Any) -> str:
    """The address of the same list with something else asked for."""
    changed = {"page": 1, **other}
    return place(word_of(kind), **replace(ask, **changed).query())


def _column(kind: Kind, ask: Ask, name: str) -> dict[str, str]:
    way = {name: "ascending", f"-{name}": "descending"}.get(ask.sort, "none")
    return {
        "name": name,
        "sorted": way,
        "href": _at(kind, ask, sort=f"-{name}" if way == "ascending" else name),
    }


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _phases(reading: Reading, kind: Kind, ask: Ask) -> list[dict[str, Any]]:
    counts = reading.phases.get(kind.name, {})
    return [
        {
            "phase": phase,
            "count": count,
            "chosen": ask.phase == phase,
            "href": _at(kind, ask, phase="" if ask.phase == phase else phase),
        }
        for phase, count in counts.items()
        if phase
    ]


def _states(rows: Sequence[Row], kind: Kind, ask: Ask) -> list[dict[str, Any]]:
    counts = Counter(map(tone, rows))
    return [
        {
            "state": name,
            "says": TONES[name],
            "count": counts[name],
            "chosen": ask.state == name,
            "href": _at(kind, ask, state="" if ask.state == name else name),
        }
        for name in ("act", "wait", "moving")
        if counts[name]
    ]


def _item(kind: Kind, ask: Ask, row: Row) -> dict[str, Any]:
    names = [column.name for column in kind.columns]
    return {
        "namespace": row.namespace,
        "name": row.name,
        "href": href(row),
        "phase": row.phase,
        "tone": tone(row),
        "says": row.said[0].message if row.said else "",
        "columns": dict(zip(names, row.cells, strict=True)),
        "labels": dict(row.labels),
        "waits": list(row.waits),
    }
