"""Objects as tables, the way kubectl prints them. The columns come from the kinds' schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.core import human, jsonpath, status
from agent.core.model import Json
from agent.core.schema import Column, Kind

GAP = 3
"""Spaces between columns, at least."""


@dataclass(frozen=True)
class Table:
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(
    kind: Kind,
    objects: Iterable[Mapping[str, Json]],
    *,
    now: float | None,
    wide: bool = False,
    namespaces: bool = False,
    typed: bool = False,
    labels: bool = False,
) -> Table:
    """One row an object. `objects` are whole, as the status branch has them.

    Without `now` (seconds since the epoch) there are no columns of ages. `namespaces` puts the
    namespace first, `typed` the resource before the name (`virtualdisk.…/root`), `labels` a column
    of labels last.
    """
    columns = [column for column in kind.columns if wide or not column.wide]
    if now is None:
        columns = [column for column in columns if column.type != "date"]
    spaced = namespaces and kind.namespaced
    last = ("LABELS",) if labels else ()
    headers = (
        *(("NAMESPACE",) if spaced else ()),
        "NAME",
        *(column.name for column in columns),
        *last,
    )
    rows = []
    for value in objects:
        metadata = value["metadata"]
        name = f"{resource(kind)}/{metadata['name']}" if typed else metadata["name"]
        marked = (metadata.get("annotations") or {}).get(kind.default_by) == "true"
        name += " (default)" if marked else ""
        cells = (cell(column, value, now) for column in columns)
        first = (printable(metadata.get("namespace", "")),) if spaced else ()
        told = (_labels(metadata.get("labels")),) if labels else ()
        rows.append((*first, printable(name), *cells, *told))
    return Table(headers, tuple(rows))


def text(shown: Table, *, header: bool = True, widths: Sequence[int] = ()) -> str:
    """Lines with a newline each. `widths` are the least widths of the columns."""
    lines = [shown.headers, *shown.rows] if header else list(shown.rows)
    least = fitting(shown, widths)
    return "".join(
        "".join(cell.ljust(width + GAP) for cell, width in zip(line, least, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def fitting(shown: Table, widths: Sequence[int] = ()) -> tuple[int, ...]:
    """The width of each column, at least as wide as `widths`."""
    given = tuple(widths) or (0,) * len(shown.headers)
    columns = zip(shown.headers, *shown.rows, strict=True)
    return tuple(
        max(least, *(len(cell) for cell in column))
        for least, column in zip(given, columns, strict=True)
    )


def resource(kind: Kind) -> str:
    """The kind as kubectl writes it before a name: `virtualmachine.virtualization.deckhouse.io`."""
    group = kind.api_versions[0].rpartition("/")[0]
    return f"{kind.singular}.{group}" if group else kind.singular


def printable(value: str) -> str:
    """The text on one line, with whatever would steer a terminal written out."""
    if value.isprintable():
        return value
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in value
    )


def cell(column: Column, value: Mapping[str, Json], now: float | None) -> str:
    values = [item for item in jsonpath.find(column.path, value) if item is not None]
    if not values or values[0] == "":
        return column.missing
    first = values[0]
    if column.type == "date":
        return _age(first, now)
    if column.type == "integer" and isinstance(first, dict | list):
        return str(len(first))
    return printable(jsonpath.shown(first))


def _labels(labels: Json) -> str:
    pairs = labels.items() if isinstance(labels, dict) else ()
    return ",".join(printable(f"{key}={value}") for key, value in sorted(pairs)) or "<none>"


def _age(value: Json, now: float | None) -> str:
    try:
        return human.age((now or 0) - status.seconds(value))
    except (TypeError, ValueError):
        return "<unknown>"
