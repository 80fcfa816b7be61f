"""From a template's text to what it is made of."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from agent.core.jsonpath.syntax import (
    Below,
    Every,
    Field,
    Filter,
    Items,
    JSONPathError,
    Node,
    Operand,
    Path,
    Range,
    Slice,
    Step,
)
from agent.core.model import Json


def pieces(text: str) -> Iterator[tuple[bool, str]]:
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


def nodes(
    parts: Sequence[tuple[bool, str]], *, closing: bool
) -> tuple[tuple[Node, ...], Sequence[tuple[bool, str]]]:
    """Nodes up to `{end}` or the end, and the parts from there on."""
    made: list[Node] = []
    while parts:
        (expression, text), parts = parts[0], parts[1:]
        if not expression:
            made.append(text)
        elif text == "end":
            return tuple(made), parts if closing else [(True, text), *parts]
        elif re.match(r"range\s", text):
            over = only(text.removeprefix("range").strip())
            body, parts = nodes(parts, closing=True)
            made.append(Range(over, body))
        elif text[:1] in ("'", '"'):
            made.append(_quoted_text(text))
        else:
            made.append(only(text))
    if closing:
        raise JSONPathError("{range …} is never closed: add {end}")
    return tuple(made), ()


def _quoted_text(text: str) -> str:
    reader = _Reader(text)
    quoted = reader.quoted()
    reader.done()
    return quoted


@lru_cache(maxsize=256)
def only(text: str) -> Path:
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

    def path(self) -> Path:
        rooted = self._accept("$")
        if not rooted:
            self._accept("@")
        steps: list[Step] = []
        while self._at < len(self._text):
            if self._accept(".."):
                steps.append(Below())
                if not self._sees("["):
                    steps.append(self._name())
            elif self._accept("."):
                if not self._sees("[") and self._at < len(self._text):
                    steps.append(self._name())
            elif self._accept("["):
                steps.append(self._brackets())
            elif not steps and not rooted and _NAME.match(self._text, self._at):
                steps.append(self._name())
            else:
                break
        return Path(tuple(steps), rooted)

    def quoted(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        text = ""
        while self._at < len(self._text):
            sign = self._text[self._at]
            self._at += 1
            if sign == quote:
                return text
            if sign == "\\" and self._at < len(self._text):
                sign = self._text[self._at]
                sign = _ESCAPES.get(sign, sign)
                self._at += 1
            text += sign
        self._fail(f"the text that begins with {quote} is never closed")
        return text

    def _name(self) -> Step:
        if self._accept("*"):
            return Every()
        match = _NAME.match(self._text, self._at)
        if match is None:
            self._fail("a field's name is missing after the dot")
            return Every()
        self._at = match.end()
        return Field((re.sub(r"\\(.)", r"\1", match[0]),))

    def _brackets(self) -> Step:
        self._space()
        if self._accept("*"):
            step: Step = Every()
        elif self._accept("?("):
            step = self._filter()
        elif self._sees("'") or self._sees('"'):
            step = Field(tuple(self._listed(self.quoted)))
        else:
            step = self._positions()
        self._space()
        if not self._accept("]"):
            self._fail("] is missing")
        return step

    def _listed(self, one: Callable[[], str]) -> Iterator[str]:
        yield one()
        self._space()
        while self._accept(","):
            self._space()
            yield one()
            self._space()

    def _positions(self) -> Step:
        first = self._integer()
        if self._sees(":"):
            bounds = [first]
            while len(bounds) < 3 and self._accept(":"):
                bounds.append(self._integer())
            if bounds[2:] == [0]:
                self._fail("a step of 0 never ends")
            return Slice(slice(*bounds))
        indexes = [first]
        while self._accept(","):
            self._space()
            indexes.append(self._integer())
        if any(index is None for index in indexes):
            self._fail("a position, a name in quotes, * or ?(…) is missing in the brackets")
        return Items(tuple(index for index in indexes if index is not None))

    def _integer(self) -> int | None:
        match = _INTEGER.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return int(match[0])

    def _filter(self) -> Filter:
        left = self._operand()
        self._space()
        compare, right = None, None
        for sign, comparison in _OPERATORS:
            if self._accept(sign):
                compare, right = comparison, self._operand()
                break
        self._space()
        if not self._accept(")"):
            self._fail('a filter is written [?(@.field=="value")]: ) is missing')
        return Filter(left, compare, right)

    def _operand(self) -> Operand:
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
            if self._accept(word):
                return value
        self._fail("a filter compares @.field with a text in quotes, a number, true or false")
        return None

    def _space(self) -> None:
        while self._sees(" "):
            self._at += 1

    def _sees(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _accept(self, text: str) -> bool:
        if not self._sees(text):
            return False
        self._at += len(text)
        return True

    def _fail(self, why: str) -> None:
        raise JSONPathError(f"{self._text!r}, character {self._at + 1}: {why}")
