"""kubectl's JSONPath templates: `{.metadata.name}`, filters, unions, slices, `..`, and range … end.

What leads nowhere is empty, as `kubectl get` has it; what cannot be read as a template is an error.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent.core.model import Json


class JSONPathError(ValueError):
    """The template cannot be read; the message says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class _Field:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Slice:
    at: slice


@dataclass(frozen=True, slots=True)
class _Items:
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Every:
    pass


@dataclass(frozen=True, slots=True)
class _Below:
    """The value itself and everything in it."""


@dataclass(frozen=True, slots=True)
class _Filter:
    left: _Operand
    compare: Callable[[Json, Json], bool] | None
    right: _Operand | None


_Step = _Field | _Slice | _Items | _Every | _Below | _Filter


@dataclass(frozen=True, slots=True)
class _Path:
    steps: tuple[_Step, ...]
    rooted: bool = False
    """True for `$…`: starts at the whole, also within a range."""


_Operand = _Path | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class _Range:
    over: _Path
    body: tuple[_Node, ...]


_Node = str | _Path | _Range


@dataclass(frozen=True, slots=True)
class Template:
    """A template that holds."""

    _nodes: tuple[_Node, ...]

    def render(self, value: Json) -> str:
        """The text with every `{…}` replaced; several results of one stand apart by a space."""
        return "".join(_rendered(self._nodes, value, value))


def template(text: str) -> Template:
    """Read a template: text with expressions in braces, or one path without any."""
    if "{" not in text:
        text = "{" + (text if text.startswith((".", "[", "$", "@")) else f".{text}") + "}"
    nodes, rest = _nodes(list(_parts(text)), closing=False)
    if rest:
        raise JSONPathError("{end} has no {range} before it: leave it out")
    return Template(nodes)


def find(path: str, value: Json) -> list[Json]:
    """Everything that a path without braces leads to, in the order of the value."""
    return _found(_only(path), value, value)


def shown(value: Json) -> str:
    """A result as text: texts as they are, all else as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -- reading ----------------------------------------------------------------------------------


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """(is an expression, text), in order."""
    at = 0
    while at < len(text):
        start = text.find("{", at)
        if start < 0:
            yield False, text[at:]
            return
        if start > at:
            yield False, text[at:start]
        end = _closing(text, start)
        yield True, text[start + 1 : end].strip()
        at = end + 1


def _closing(text: str, start: int) -> int:
    quote = ""
    skip = False
    for at in range(start + 1, len(text)):
        sign = text[at]
        if skip:
            skip = False
        elif sign == "\\":
            skip = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "}":
            return at
    raise JSONPathError(f"the brace at character {start + 1} is never closed: add a }}")


def _nodes(
    parts: Sequence[tuple[bool, str]], *, closing: bool
) -> tuple[tuple[_Node, ...], Sequence[tuple[bool, str]]]:
    """Nodes up to `{end}` or the end, and the parts from there on."""
    found: list[_Node] = []
    while parts:
        (expression, text), parts = parts[0], parts[1:]
        if not expression:
            found.append(text)
        elif text == "end":
            return tuple(found), parts if closing else [(True, text), *parts]
        elif re.match(r"range\s", text):
            over = _only(text.removeprefix("range").strip())
            body, parts = _nodes(parts, closing=True)
            found.append(_Range(over, body))
        elif text[:1] in ("'", '"'):
            found.append(_quoted_text(text))
        else:
            found.append(_only(text))
    if closing:
        raise JSONPathError("{range …} is never closed: add {end}")
    return tuple(found), ()


def _quoted_text(text: str) -> str:
    reader = _Reader(text)
    found = reader.quoted()
    reader.done()
    return found


@lru_cache(maxsize=256)
def _only(text: str) -> _Path:
    reader = _Reader(text)
    path = reader.path()
    reader.done()
    return path


_NAME = re.compile(r"(?:\\.|[^\s.\[\](){}'\"\\,=!<>|&@$?*])+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_INTEGER = re.compile(r"-?\d{1,9}")
_OPERATORS: tuple[tuple[str, Callable[[Json, Json], bool]], ...] = (
    ("==", operator.eq),
    ("!=", operator.ne),
    ("<=", operator.le),
    (">=", operator.ge),
    ("<", operator.lt),
    (">", operator.gt),
)
_WORDS = {"true": True, "false": False, "null": None, "nil": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class _Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def done(self) -> None:
        if self._at < len(self._text):
            self._fail(f"{self._text[self._at :]!r} cannot follow here")

    def path(self) -> _Path:
        rooted = self._take("$")
        if not rooted:
            self._take("@")
        steps: list[_Step] = []
        while self._at < len(self._text):
            if self._take(".."):
                steps.append(_Below())
                if not self._sees("["):
                    steps.append(self._name())
            elif self._take("."):
                if not self._sees("[") and self._at < len(self._text):
                    steps.append(self._name())
            elif self._take("["):
                steps.append(self._brackets())
            elif not steps and not rooted and _NAME.match(self._text, self._at):
                steps.append(self._name())
            else:
                break
        return _Path(tuple(steps), rooted)

    def quoted(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        found = ""
        while self._at < len(self._text):
            sign = self._text[self._at]
            self._at += 1
            if sign == quote:
                return found
            if sign == "\\" and self._at < len(self._text):
                sign = self._text[self._at]
                sign = _ESCAPES.get(sign, sign)
                self._at += 1
            found += sign
        self._fail(f"the text that begins with {quote} is never closed")
        return found

    def _name(self) -> _Step:
        if self._take("*"):
            return _Every()
        match = _NAME.match(self._text, self._at)
        if match is None:
            self._fail("a field's name is missing after the dot")
            return _Every()
        self._at = match.end()
        return _Field((re.sub(r"\\(.)", r"\1", match[0]),))

    def _brackets(self) -> _Step:
        self._space()
        if self._take("*"):
            step: _Step = _Every()
        elif self._take("?("):
            step = self._filter()
        elif self._sees("'") or self._sees('"'):
            step = _Field(tuple(self._listed(self.quoted)))
        else:
            step = self._positions()
        self._space()
        if not self._take("]"):
            self._fail("] is missing")
        return step

    def _listed(self, one: Callable[[], str]) -> Iterator[str]:
        yield one()
        self._space()
        while self._take(","):
            self._space()
            yield one()
            self._space()

    def _positions(self) -> _Step:
        first = self._integer()
        if self._sees(":"):
            bounds = [first]
            while len(bounds) < 3 and self._take(":"):
                bounds.append(self._integer())
            if bounds[2:] == [0]:
                self._fail("a step of 0 never ends")
            return _Slice(slice(*bounds))
        indexes = [first]
        while self._take(","):
            self._space()
            indexes.append(self._integer())
        if any(index is None for index in indexes):
            self._fail("a position, a name in quotes, * or ?(…) is missing in the brackets")
        return _Items(tuple(index for index in indexes if index is not None))

    def _integer(self) -> int | None:
        match = _INTEGER.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return int(match[0])

    def _filter(self) -> _Filter:
        left = self._operand()
        self._space()
        compare, right = None, None
        for sign, found in _OPERATORS:
            if self._take(sign):
                compare, right = found, self._operand()
                break
        self._space()
        if not self._take(")"):
            self._fail('a filter is written [?(@.field=="value")]: ) is missing')
        return _Filter(left, compare, right)

    def _operand(self) -> _Operand:
        self._space()
        if self._sees("@") or self._sees("$"):
            return self.path()
        if self._sees("'") or self._sees('"'):
            return self.quoted()
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            return float(number[0]) if number[1] else int(number[0])
        for word, value in _WORDS.items():
            if self._take(word):
                return value
        self._fail("a filter compares @.field with a text in quotes, a number, true or false")
        return None

    def _space(self) -> None:
        while self._sees(" "):
            self._at += 1

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        if not self._sees(text):
            return False
        self._at += len(text)
        return True

    def _fail(self, why: str) -> None:
        raise JSONPathError(f"{self._text!r}, character {self._at + 1}: {why}")


# -- following --------------------------------------------------------------------------------


def _rendered(nodes: Sequence[_Node], value: Json, root: Json) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, _Path):
            yield " ".join(shown(found) for found in _found(node, value, root))
        else:
            for item in _found(node.over, value, root):
                yield from _rendered(node.body, item, root)


def _found(path: _Path, value: Json, root: Json) -> list[Json]:
    values = [root if path.rooted else value]
    for step in path.steps:
        values = [found for each in values for found in _step(step, each, root)]
    return values


def _step(step: _Step, value: Json, root: Json) -> Iterator[Json]:
    match step:
        case _Field(names):
            if isinstance(value, dict):
                yield from (value[name] for name in names if name in value)
        case _Every():
            yield from _children(value)
        case _Below():
            yield from _below(value)
        case _ if isinstance(value, list):
            yield from _of_list(step, value, root)


def _of_list(step: _Step, value: list[Json], root: Json) -> Iterator[Json]:
    match step:
        case _Items(indexes):
            size = len(value)
            yield from (value[index] for index in indexes if -size <= index < size)
        case _Slice(at):
            yield from value[at]
        case _Filter():
            yield from (item for item in value if _holds(step, item, root))


def _children(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _below(value: Json) -> Iterator[Json]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        yield each
        waiting.extend(reversed(list(_children(each))))


def _holds(step: _Filter, item: Json, root: Json) -> bool:
    left = _values(step.left, item, root)
    if step.compare is None or not left:
        return bool(left)
    right = _values(step.right, item, root)
    try:
        return bool(right) and step.compare(left[0], right[0])
    except TypeError:
        return False


def _values(operand: _Operand, item: Json, root: Json) -> list[Json]:
    return _found(operand, item, root) if isinstance(operand, _Path) else [operand]
