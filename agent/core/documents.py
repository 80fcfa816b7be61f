"""YAML and JSON text from strangers, as values of JSON's types.

One walk over libyaml's events both bounds and builds: nothing is composed by recursion, so nesting
cannot kill the interpreter, and aliases share what they name, counted as if they were written out.

Plain scalars are read as kubectl reads them: `yes`, `no`, `on` and `off` are booleans beside `true`
and `false`, decimal numbers are numbers. What only YAML 1.1 takes for something else (dates, octal,
hexadecimal and base-60 numbers) stays text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from agent.core.model import Json

Path = tuple[str | int, ...]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_DOCUMENTS = 5_000
MAX_ALIASES = 1_000
MAX_EXPANDED = 4 * MAX_BYTES
MAX_PROBLEMS = 50

_BOOLEANS = {
    form: value
    for words, value in ((("true", "yes", "on"), True), (("false", "no", "off"), False))
    for word in words
    for form in (word, word.title(), word.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Document:
    """One document. `problems` are things that YAML allows and a manifest does not; `value` is then
    the best guess.
    """

    value: Json
    line: int
    problems: tuple[tuple[Path, str], ...] = ()
    lines: dict[int, dict[str | int, int]] = field(default_factory=dict, repr=False)

    def line_of(self, path: Path) -> int:
        """Line of the field, or of the nearest field around it that is there."""
        line, value = self.line, self.value
        for step in path:
            known = self.lines.get(id(value), {}).get(step)
            if known is None:
                break
            line, value = known, value[step]
        return line


@dataclass(frozen=True)
class ParsedFile:
    """What a file holds. `errors` are (line, sentence): from there on it could not be read."""

    documents: tuple[Document, ...]
    errors: tuple[tuple[int, str], ...] = ()


class _RefusedError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def parse(data: bytes) -> ParsedFile:
    """Read every document up to the first that cannot be read. Never raises; empty documents are
    skipped and kind List is taken apart.
    """
    documents: list[Document] = []
    try:
        text = _text(data)
        for document in _documents(text):
            documents.extend(_flattened(document))
    except _RefusedError as refusal:
        return ParsedFile(tuple(documents), ((refusal.line, refusal.message),))
    return ParsedFile(tuple(documents))


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _RefusedError(
            0, f"is larger than {MAX_BYTES // 1024} KiB: split it into several files"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _RefusedError(line, "is not UTF-8 text: save it in that encoding") from error
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise _RefusedError(line, f"holds the control character U+{ord(control[0]):04X}: remove it")
    return text


def _documents(text: str) -> Iterator[Document]:
    budget = _Budget()
    events = _events(text)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            budget.documents += 1
            if budget.documents > MAX_DOCUMENTS:
                raise _RefusedError(
                    _line(event), f"holds more than {MAX_DOCUMENTS} documents: split the file"
                )
            document = _Builder(budget).build(events)
            if document.value is not None or document.problems:
                yield document


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.CLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _RefusedError(mark.line + 1 if mark else 0, _syntax(text, error)) from error
    except yaml.YAMLError as error:
        raise _RefusedError(0, "is not valid YAML") from error


def _syntax(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    if mark is not None:
        lines = text.splitlines()
        indent = re.match(r"\s*", lines[mark.line]) if mark.line < len(lines) else None
        if indent and "\t" in indent[0]:
            return "is not valid YAML: tabs cannot indent, use spaces"
    context = f" {error.context}" if error.context else ""
    return f"is not valid YAML: {error.problem}{context}"


@dataclass
class _Budget:
    """What a whole file may use up."""

    documents: int = 0
    nodes: int = 0
    aliases: int = 0
    expanded: int = 0

    def spend(self, size: int, line: int) -> None:
        self.nodes += 1
        self.expanded += size
        if self.nodes > MAX_NODES:
            raise _RefusedError(line, f"holds more than {MAX_NODES} values: split the file")
        if self.expanded > MAX_EXPANDED:
            raise _RefusedError(
                line, f"grows beyond {MAX_EXPANDED // 1024} KiB through its aliases"
            )


_NO_KEY = object()
_MERGE = object()
_DROP = object()


class _Frame:
    """A mapping or a list that is being filled."""

    __slots__ = ("anchor", "before", "key", "key_line", "line", "lines", "merges", "value")

    def __init__(self, value: Any, anchor: str | None, before: int, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.before = before
        self.line = line
        self.lines: dict[str | int, int] = {}
        self.key: Any = _NO_KEY
        self.key_line = 0
        self.merges: list[Any] = []

    def at_key(self) -> bool:
        return self.key is _NO_KEY and type(self.value) is dict


class _Builder:
    """Builds one document from its events."""

    def __init__(self, budget: _Budget) -> None:
        self.budget = budget
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.problems: list[tuple[Path, str]] = []
        self.lines: dict[int, dict[str | int, int]] = {}
        self.root: Any = None
        self.line = 0

    def build(self, events: Iterator[Any]) -> Document:
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open({}, event)
            elif kind is yaml.SequenceStartEvent:
                self._open([], event)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentEndEvent:
                break
            else:
                self._close()
        return Document(self.root, self.line, tuple(self.problems), self.lines)

    def _scalar(self, event: Any) -> None:
        line = _line(event)
        text: str = event.value
        size = len(text) + 1
        self.budget.spend(size, line)
        value: Any = text
        if event.tag is not None:
            self._problem("must not have a tag (`!`): write the plain value")
        elif event.implicit[0]:
            value = self._plain(text)
        if _FORBIDDEN.search(text):
            self._problem("must not contain control characters")
            value = _FORBIDDEN.sub("", text)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, size)
        self._place(value, line)

    def _plain(self, text: str) -> Any:
        if text in _NULLS:
            return None
        if text[0] in "tTfFyYnNoO":
            return _BOOLEANS.get(text, text)
        if text[0] in "0123456789+-.":
            return self._number(text)
        if text == "<<" and self.stack and self.stack[-1].at_key():
            return _MERGE
        return text

    def _number(self, text: str) -> Any:
        if _INTEGER.fullmatch(text):
            # longer ones are refused unconverted: conversion takes time that grows with the square
            number = int(text) if len(text) <= 20 else _LARGEST_INTEGER + 1
            if abs(number) <= _LARGEST_INTEGER:
                return number
            self._problem("must be a number within 64 bits, or text in quotes")
        elif _FLOAT.fullmatch(text):
            real = float(text)
            if math.isfinite(real):
                return real
            self._problem("must be a number within 64 bits, or text in quotes")
        elif _NOT_FINITE.fullmatch(text):
            self._problem("must be a finite number, or text in quotes")
        return text

    def _alias(self, event: Any) -> None:
        line = _line(event)
        self.budget.aliases += 1
        if self.budget.aliases > MAX_ALIASES:
            raise _RefusedError(line, f"uses more than {MAX_ALIASES} aliases: write the values out")
        if event.anchor not in self.anchors:
            raise _RefusedError(
                line, "has an alias (`*`) of something that is not complete before it"
            )
        value, size = self.anchors[event.anchor]
        self.budget.spend(size, line)
        self._place(value, line)

    def _open(self, value: Any, event: Any) -> None:
        line = _line(event)
        if len(self.stack) >= MAX_DEPTH:
            raise _RefusedError(line, f"is nested deeper than {MAX_DEPTH} levels")
        if self.stack and self.stack[-1].at_key():
            raise _RefusedError(line, "has a mapping or a list as a key: keys must be text")
        if event.tag is not None:
            self._problem("must not have a tag (`!`): write the plain value")
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        frame = _Frame(value, event.anchor, self.budget.expanded, line)
        self.budget.spend(1, line)
        self.lines[id(value)] = frame.lines
        self.stack.append(frame)

    def _close(self) -> None:
        frame = self.stack.pop()
        for merged in frame.merges:
            self._merge(frame, merged)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.value, self.budget.expanded - frame.before)
        self._place(frame.value, frame.line)

    def _place(self, value: Any, line: int) -> None:
        if not self.stack:
            self.root, self.line = value, line
            return
        frame = self.stack[-1]
        if type(frame.value) is list:
            frame.lines[len(frame.value)] = line
            frame.value.append(value)
        elif frame.key is _NO_KEY:
            frame.key, frame.key_line = self._key(frame, value, line), line
        else:
            if frame.key is _MERGE:
                frame.merges.append(value)
            elif frame.key is not _DROP:
                frame.lines[frame.key] = frame.key_line
                frame.value[frame.key] = value
            frame.key = _NO_KEY

    def _key(self, frame: _Frame, key: Any, line: int) -> Any:
        if key is _MERGE:
            return key
        if not isinstance(key, str):
            self._problem(
                "must have text as keys: put keys that look like numbers or booleans in quotes"
            )
            return _DROP
        if key in frame.value:
            self._problem(f"is there twice, again in line {line}: keep one of them", key)
            return _DROP
        return key

    def _merge(self, frame: _Frame, merged: Any) -> None:
        """The merge key `<<` of YAML 1.1: what is not there yet is taken over."""
        for source in merged if isinstance(merged, list) else [merged]:
            if not isinstance(source, dict):
                self._problem("must have mappings behind the merge key `<<`")
                continue
            for key, value in source.items():
                if key not in frame.value:
                    frame.value[key] = value
                    frame.lines[key] = frame.line

    def _problem(self, message: str, key: str | None = None) -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            return
        path: list[str | int] = []
        for frame in self.stack:
            if type(frame.value) is list:
                path.append(len(frame.value))
            elif isinstance(frame.key, str):
                path.append(frame.key)
        if key is not None:
            path.append(key)
        self.problems.append((tuple(path), message))


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _flattened(document: Document) -> Iterator[Document]:
    """The items of a List, each with its own line; any other document as it is."""
    value = document.value
    if not isinstance(value, dict) or not _is_list(value):
        yield document
        return
    outside = [
        message for path, message in document.problems if len(path) < 2 or path[0] != "items"
    ]
    if outside:
        raise _RefusedError(document.line, f"holds a {value['kind']} that {outside[0]}")
    items = value.get("items")
    for index, item in enumerate(items or ()):
        problems = tuple(
            (path[2:], message) for path, message in document.problems if path[1:2] == (index,)
        )
        line = document.line_of(("items", index))
        if item is not None:
            yield from _flattened(Document(item, line, problems, document.lines))


def _is_list(value: dict[str, Json]) -> bool:
    kind = value.get("kind")
    if not isinstance(kind, str) or not kind.endswith("List"):
        return False
    return isinstance(value.get("items"), list) or (kind == "List" and value.get("items") is None)
