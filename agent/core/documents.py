"""The values of a file's documents, of JSON's types only, and how they are built within bounds.

What a text says comes as a series of calls, one for each scalar, mapping and list, so that nothing
is composed by recursion and nesting cannot kill the interpreter. Aliases share what they name, and
count as if they were written out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from agent.core.model import Json

Path = tuple[str | int, ...]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_DOCUMENTS = 5_000
MAX_ALIASES = 1_000
MAX_EXPANDED = 4 * MAX_BYTES
MAX_PROBLEMS = 50

MERGE = object()
"""The key of mappings that are to be merged in."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
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
    again: tuple[tuple[Path, dict[str, Json]], ...] = ()
    """What stands in a mapping, by its path, under keys that it has already: where the line between
    two documents is lost, the second one.
    """

    def line_of(self, path: Path) -> int:
        """Line of the field, or of the nearest field around it that is there."""
        line, value = self.line, self.value
        for step in path:
            known = self.lines.get(id(value), {}).get(step)
            if known is None:
                break
            line = known
            try:
                value = value[step]
            except LookupError:  # it was null
                break
        return line


@dataclass(frozen=True)
class ParsedFile:
    """What a file holds. `errors` are (line, sentence): from there on it could not be read."""

    documents: tuple[Document, ...]
    errors: tuple[tuple[int, str], ...] = ()


class RefusedError(Exception):
    """From this line on a file cannot be read. The message says why, without a subject."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass
class Budget:
    """What a whole file may use up."""

    documents: int = 0
    nodes: int = 0
    aliases: int = 0
    expanded: int = 0

    def begin(self, line: int) -> None:
        """Another document."""
        self.documents += 1
        if self.documents > MAX_DOCUMENTS:
            raise RefusedError(line, f"holds more than {MAX_DOCUMENTS} documents: split the file")

    def spend(self, size: int, line: int) -> None:
        self.nodes += 1
        self.expanded += size
        if self.nodes > MAX_NODES:
            raise RefusedError(line, f"holds more than {MAX_NODES} values: split the file")
        if self.expanded > MAX_EXPANDED:
            raise RefusedError(line, f"grows beyond {MAX_EXPANDED // 1024} KiB through its aliases")


_NO_KEY = object()
_FIRST = ("apiVersion", "kind")
"""Keys that each manifest has, and most have first."""


class _Frame:
    """A mapping or a list that is being filled."""

    __slots__ = (
        *("again", "anchor", "before", "key", "key_line"),
        *("line", "lines", "merges", "times", "value"),
    )

    def __init__(self, value: Any, anchor: str | None, before: int, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.before = before
        self.line = line
        self.lines: dict[str | int, int] = {}
        self.key: Any = _NO_KEY
        self.key_line = 0
        self.merges: list[Any] = []
        self.again: list[dict[str, Any]] = []
        """Values of keys that are there already: the second ones, the third ones, ..."""
        self.times: dict[str, int] = {}
        """How often each of these was there again."""

    def at_key(self) -> bool:
        return self.key is _NO_KEY and type(self.value) is dict


class Builder:
    """Builds one document from what its text says, part by part."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.problems: list[tuple[Path, str]] = []
        self.lines: dict[int, dict[str | int, int]] = {}
        self.again: list[tuple[Path, dict[str, Json]]] = []
        self.root: Any = None
        self.line = 0

    def document(self) -> Document:
        return Document(self.root, self.line, tuple(self.problems), self.lines, tuple(self.again))

    def at_key(self) -> bool:
        """True if what comes next is a key."""
        return bool(self.stack) and self.stack[-1].at_key()

    def scalar(self, value: Any, size: int, line: int, anchor: str | None = None) -> None:
        """A value, or MERGE; `size` is the length of its text."""
        self.budget.spend(size + 1, line)
        if isinstance(value, str) and _FORBIDDEN.search(value):
            self.problem("must not contain control characters or halves of characters")
            value = _FORBIDDEN.sub("", value)
        if anchor is not None:
            self.anchors[anchor] = (value, size + 1)
        self._add(value, line)

    def number(self, text: str) -> Any:
        """The number that a text is; the text itself if it is none, or none that can be."""
        if _INTEGER.fullmatch(text):
            # longer ones are refused unconverted: conversion takes time that grows with the square
            number = int(text) if len(text) <= 20 else _LARGEST_INTEGER + 1
            if abs(number) <= _LARGEST_INTEGER:
                return number
            self.problem("must be a number within 64 bits, or text in quotes")
        elif _FLOAT.fullmatch(text):
            real = float(text)
            if math.isfinite(real):
                return real
            self.problem("must be a number within 64 bits, or text in quotes")
        elif _NOT_FINITE.fullmatch(text):
            self.problem("must be a finite number, or text in quotes")
        return text

    def alias(self, name: str, line: int) -> None:
        """What stands at an anchor once more."""
        self.budget.aliases += 1
        if self.budget.aliases > MAX_ALIASES:
            raise RefusedError(line, f"uses more than {MAX_ALIASES} aliases: write the values out")
        if name not in self.anchors:
            raise RefusedError(
                line, "has an alias (`*`) of something that is not complete before it"
            )
        value, size = self.anchors[name]
        self.budget.spend(size, line)
        self._add(value, line)

    def open(self, value: dict[str, Any] | list[Any], line: int, anchor: str | None = None) -> None:
        """A mapping or a list begins: give an empty one."""
        if len(self.stack) >= MAX_DEPTH:
            raise RefusedError(line, f"is nested deeper than {MAX_DEPTH} levels")
        if self.at_key():
            raise RefusedError(line, "has a mapping or a list as a key: keys must be text")
        if anchor is not None:
            self.anchors.pop(anchor, None)
        frame = _Frame(value, anchor, self.budget.expanded, line)
        self.budget.spend(1, line)
        self.lines[id(value)] = frame.lines
        self.stack.append(frame)

    def close(self) -> None:
        """What was opened last is complete."""
        frame = self.stack.pop()
        for merged in frame.merges:
            self._merge(frame, merged)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.value, self.budget.expanded - frame.before)
        if frame.again:
            path = self._path()
            self.again += [(path, part) for part in frame.again]
        self._add(frame.value, frame.line)

    def _add(self, value: Any, line: int) -> None:
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
            if frame.key is MERGE:
                frame.merges.append(value)
            elif frame.key in frame.value:
                _again(frame, value)
            elif frame.key is not None:
                frame.lines[frame.key] = frame.key_line
                frame.value[frame.key] = value
            frame.key = _NO_KEY

    def _key(self, frame: _Frame, key: Any, line: int) -> Any:
        """The key as it counts; None for one that does not."""
        if key is MERGE:
            return key
        if not isinstance(key, str):
            self.problem(
                "must have text as keys: put keys that look like numbers or booleans in quotes"
            )
            return None
        if key in frame.value:
            lost = ", or put back the line `---` before that" if key in _FIRST else ""
            self.problem(f"is there twice, again in line {line}: keep one of them{lost}", key)
        return key

    def _merge(self, frame: _Frame, merged: Any) -> None:
        """The merge key `<<` of YAML 1.1: what is not there yet is taken over."""
        for source in merged if isinstance(merged, list) else [merged]:
            if not isinstance(source, dict):
                self.problem("must have mappings after the merge key `<<`")
                continue
            for key, value in source.items():
                if key not in frame.value:
                    frame.value[key] = value
                    frame.lines[key] = frame.line

    def problem(self, message: str, key: str | None = None) -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            return
        path = self._path()
        self.problems.append((path if key is None else (*path, key), message))

    def _path(self) -> Path:
        """Where the next value goes."""
        path: list[str | int] = []
        for frame in self.stack:
            if type(frame.value) is list:
                path.append(len(frame.value))
            elif isinstance(frame.key, str):
                path.append(frame.key)
        return tuple(path)


def _again(frame: _Frame, value: Any) -> None:
    times = frame.times[frame.key] = frame.times.get(frame.key, 0) + 1
    if times > len(frame.again):
        frame.again.append({})
    frame.again[times - 1][frame.key] = value
