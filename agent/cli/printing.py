"""Objects in the formats of `-o`, as kubectl prints them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cli.command import CommandError
from agent.cli.machine import as_json, as_yaml
from agent.core import jsonpath, tables
from agent.core.entries import Entry
from agent.core.schema import Kind

FORMATS = (
    "wide, yaml, json, name, jsonpath='{.status.phase}', custom-columns=NAME:.metadata.name or "
    "custom-columns-file=FILE"
)
_COLUMN = re.compile(r",(?=[^:,\[\]]+:)")
"""A comma between columns, and none within a path."""

_ROOM = {"PHASE": len("Provisioning"), "IPADDRESS": len("192.168.100.100")}
"""Widths of columns in which something else stands as time goes by."""

Printer = Callable[[Sequence[Entry]], None]
"""Prints objects. Called again, it goes on."""


@dataclass(frozen=True)
class Style:
    """How objects are to be printed."""

    output: str
    kinds: Sequence[Kind]
    """Of which tables are printed, in this order."""
    single: bool = False
    """True if one object was named: it is printed by itself and in no list."""
    namespaces: bool = False
    labels: bool = False
    headers: bool = True
    watch: bool = False
    """True if each object stands by itself, for more will follow."""

    @property
    def quiet(self) -> bool:
        """True for formats that machines read, which are printed of nothing, too."""
        return self.output not in ("", "wide", "name")


def printer(style: Style) -> Printer:
    """CommandError if there is no such format, or it does not hold."""
    output, equals, argument = style.output.partition("=")
    if style.labels and style.output not in ("", "wide"):
        raise CommandError("--show-labels adds a column to tables: leave it out, or leave out -o")
    if equals and output == "jsonpath":
        return _JsonPathPrinter(style, _template(argument))
    if equals and output == "custom-columns":
        return _ColumnsPrinter(style, _columns(argument))
    if equals and output == "custom-columns-file":
        return _ColumnsPrinter(style, _columns_of_file(Path(argument)))
    printers: Mapping[str, Callable[[Style], Printer]] = {
        "": TablePrinter,
        "wide": TablePrinter,
        "name": lambda _: _print_names,
        "json": _JsonPrinter,
        "yaml": _YamlPrinter,
    }
    if style.output not in printers:
        raise CommandError(f"{style.output!r} is no output format: use {FORMATS}")
    return printers[style.output](style)


def _template(text: str) -> jsonpath.Template:
    try:
        return jsonpath.template(text)
    except jsonpath.JSONPathError as error:
        raise CommandError(f"the JSONPath cannot be read: {error}") from error


def one_path(text: str) -> str:
    """A path as `jsonpath.find` takes it, of `.a.b`, `a.b` or `{.a.b}`. CommandError if it is
    none.
    """
    path = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    path = path if path.startswith((".", "[", "$", "@")) else f".{path}"
    try:
        jsonpath.find(path, {})
    except jsonpath.JSONPathError as error:
        raise CommandError(f"the JSONPath cannot be read: {error}") from error
    return path


def _values(style: Style, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What machines read: one object where one was named, each by itself while watching, else a
    list.
    """
    values = [
        {name: value for name, value in entry.value.items() if name != "status" or value}
        for entry in entries
    ]
    if style.watch or (style.single and len(values) == 1):
        return values
    return [{"apiVersion": "v1", "items": values, "kind": "List", "metadata": {}}]


def _print_names(entries: Sequence[Entry]) -> None:
    for entry in entries:
        print(f"{tables.resource(entry.kind)}/{tables.printable(entry.name)}")


@dataclass
class _JsonPrinter:
    style: Style

    def __call__(self, entries: Sequence[Entry]) -> None:
        for value in _values(self.style, entries):
            print(as_json(value, indent=4))


@dataclass
class _JsonPathPrinter:
    style: Style
    template: jsonpath.Template

    def __call__(self, entries: Sequence[Entry]) -> None:
        for value in _values(self.style, entries):
            print(self.template.render(value), end="")


@dataclass
class _YamlPrinter:
    """Prints one stream of documents, however often it is called."""

    style: Style
    begun: bool = False

    def __call__(self, entries: Sequence[Entry]) -> None:
        for value in _values(self.style, entries):
            if self.begun:
                print("---")
            self.begun = True
            print(as_yaml(value), end="")


@dataclass
class TablePrinter:
    """Prints a table a kind. Called again it goes on without headers, in the columns of before."""

    style: Style
    widths: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __call__(self, entries: Sequence[Entry]) -> None:
        blocks = []
        now = time.time()
        for kind in self.style.kinds:
            values = [entry.value for entry in entries if entry.kind is kind]
            if not values:
                continue
            table = tables.table(
                kind,
                values,
                now=now,
                wide=self.style.output == "wide",
                namespaces=self.style.namespaces,
                typed=len(self.style.kinds) > 1,
                labels=self.style.labels,
            )
            widths = self.widths.get(kind.name) or self._room(table)
            header = self.style.headers and kind.name not in self.widths
            blocks.append(tables.text(table, header=header, widths=widths))
            self.widths[kind.name] = tables.fitting(table, widths)
        print("\n".join(blocks), end="")

    def _room(self, table: tables.Table) -> tuple[int, ...]:
        """For what may stand there later, so that columns stay where they are."""
        return tuple(_ROOM.get(name, 0) if self.style.watch else 0 for name in table.headers)


# -- columns of the user's own ----------------------------------------------------------------

Columns = Sequence[tuple[str, str]]
"""Headers, and the paths of what stands below them."""


@dataclass
class _ColumnsPrinter:
    """One table of all objects, whatever their kinds."""

    style: Style
    columns: Columns
    widths: tuple[int, ...] = ()

    def __call__(self, entries: Sequence[Entry]) -> None:
        rows = tuple(
            tuple(_cell(path, entry.value) for _, path in self.columns) for entry in entries
        )
        table = tables.Table(tuple(name for name, _ in self.columns), rows)
        header = self.style.headers and not self.widths
        print(tables.text(table, header=header, widths=self.widths), end="")
        self.widths = tables.fitting(table, self.widths)


def _cell(path: str, value: Mapping[str, Any]) -> str:
    texts = [jsonpath.shown(item) for item in jsonpath.find(path, value) if item is not None]
    return tables.printable(",".join(texts)) if texts else "<none>"


def _columns(text: str) -> Columns:
    """`NAME:.metadata.name,PHASE:.status.phase`."""
    columns = []
    for part in _COLUMN.split(text):
        name, colon, path = part.partition(":")
        if not colon or not name or not path:
            raise CommandError(
                f"{part!r} is no column: write HEADER:PATH, such as PHASE:.status.phase, with "
                "commas between"
            )
        columns.append((name, one_path(path)))
    return columns


def _columns_of_file(path: Path) -> Columns:
    """A file with a line of headers, and a line of paths."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    headers, paths = [line.split() for line in (*lines, "", "")[:2]]
    if not headers or len(headers) != len(paths):
        raise CommandError(f"{path} must have a line of headers, and one with a path for each")
    return [(name, one_path(path)) for name, path in zip(headers, paths, strict=True)]
