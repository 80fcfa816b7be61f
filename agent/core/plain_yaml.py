"""YAML as this program writes it: a key or an item a line, values that need no second look. The
ledger of a fleet has thousands of such files, and going line by line takes a fraction of the time.
Whatever is not of this kind is left to libyaml, and what is, it would read and write just so.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from agent.core.documents import Budget, Builder
from agent.core.model import Json
from agent.core.yaml_text import plain

_WIDTH = 120
"""Longer lines are folded where they have spaces."""
_LARGEST = 64 * 1024
"""Bytes of a file that has nowhere near as many values as are allowed."""
_DEEPEST = 32
_LONGEST_KEY = 100
_KEPT = 4096
_SAFE = r"[A-Za-z0-9/](?:[\w./@%+=,()'\"*&!?;<>|~$-]|:(?! |$)| (?![ #]|$))*"
"""Text without quotes that no mark of YAML's hides in."""
_TEXT = re.compile(_SAFE, re.ASCII)
_LINE = re.compile(
    rf"( *)(- )?(?:([A-Za-z][\w./-]*):(?: |$))?(?:({_SAFE})|'((?:[ -&(-~]|'')*)'|(\{{}}|\[]))?",
    re.ASCII,
)


class _OddError(Exception):
    """Not plain."""


class _Line(NamedTuple):
    indent: int
    dash: bool
    key: str | None
    value: Json
    """The types dict and list stand for empty ones, `_Line` for what follows below."""


# -- reading -----------------------------------------------------------------------------------


def read(data: bytes) -> dict[str, Json] | None:
    """The mapping that a file holds; None if that takes more than looking at its lines."""
    if len(data) > _LARGEST or not data.isascii() or not data.endswith(b"\n"):
        return None
    try:
        value = _mapping(data.decode("ascii")[:-1].split("\n"))
    except _OddError:
        return None
    return None if str(value.get("kind")).endswith("List") else value


def _mapping(lines: list[str]) -> dict[str, Json]:
    root: dict[str, Json] = {}
    stack: list[tuple[int, Any]] = [(0, root)]
    below = False
    """True if the last line's value comes on the lines below it."""
    for text in lines:
        line = _line(text)
        if below:
            stack.append(_opened(stack[-1], line))
        inner = _container(stack, line)
        value = line.value
        below = value is _Line
        if value is dict or value is list:
            value = value()
        if line.dash and line.key is not None:
            item: dict[str, Json] = {line.key: value}
            inner.append(item)
            stack.append((line.indent + 2, item))
        elif line.dash:
            inner.append(value)
        elif line.key in inner:
            raise _OddError
        else:
            inner[line.key] = value
    if below:
        raise _OddError
    return root


def _opened(around: tuple[int, Any], line: _Line) -> tuple[int, Any]:
    """What the value of a mapping's last key begins with."""
    indent, mapping = around
    value: Any = [] if line.dash else {}
    if line.indent != (indent if line.dash else indent + 2):
        raise _OddError
    mapping[next(reversed(mapping))] = value
    return line.indent, value


def _container(stack: list[tuple[int, Any]], line: _Line) -> Any:
    """The mapping or list that the line belongs to; what lies deeper is complete."""
    kind = list if line.dash else dict
    while (top := stack[-1])[0] > line.indent or (
        top[0] == line.indent and type(top[1]) is list and not line.dash
    ):
        stack.pop()
    if top[0] != line.indent or type(top[1]) is not kind or len(stack) > _DEEPEST:
        raise _OddError
    return top[1]


@lru_cache(maxsize=_KEPT)  # most lines stand in many files
def _line(text: str) -> _Line:
    match = _LINE.fullmatch(text)
    if match is None:
        raise _OddError
    spaces, dash, key, bare, quoted, empty = match.groups()
    if key is not None and _meant(key) is not key:
        raise _OddError
    value: Json = _Line
    if bare is not None:
        value = _meant(bare)
    elif quoted is not None:
        value = quoted.replace("''", "'")
    elif empty is not None:
        value = dict if empty == "{}" else list
    if key is None and (value is _Line or not dash):
        raise _OddError
    return _Line(len(spaces), dash is not None, key, value)


def _meant(text: str) -> Json:
    builder = Builder(Budget())
    value = plain(text, builder)
    if builder.problems:
        raise _OddError
    return value


# -- writing -----------------------------------------------------------------------------------


def dump(value: Json, *, ascii_only: bool = False) -> str:
    """YAML that people can read, the same whichever way it is made."""
    if not ascii_only:
        lines: list[str] = []
        with contextlib.suppress(_OddError):
            _entries(lines, value, "", "")
            return "\n".join([*lines, ""])
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=not ascii_only,
        width=_WIDTH,
        default_flow_style=False,
    )
    return text


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # C where it is built
    """Prints texts of several lines as blocks, and repeats what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _entries(lines: list[str], value: Json, lead: str, pad: str) -> None:
    """Add the lines of a mapping or a list: `lead` stands before the first one, `pad` before the
    others.
    """
    if type(value) is dict and value:
        for key, item in value.items():
            if not isinstance(key, str) or len(key) > _LONGEST_KEY or not key.isprintable():
                raise _OddError
            head = f"{lead}{_scalar(key)}:"
            _entry(lines, head, item, pad if type(item) is list else f"{pad}  ")
            lead = pad
    elif type(value) is list and value:
        for item in value:
            if item and type(item) in _CONTAINERS:
                _entries(lines, item, f"{lead}- ", f"{pad}  ")
            else:
                _entry(lines, f"{lead}-", item, pad)
            lead = pad
    else:
        raise _OddError


def _entry(lines: list[str], head: str, item: Json, pad: str) -> None:
    if item and type(item) in _CONTAINERS:
        lines.append(head)
        _entries(lines, item, pad, pad)
        return
    line = f"{head} {_scalar(item)}"
    if len(line) > _WIDTH and " " in line[len(pad) + len(head) :]:
        raise _OddError
    lines.append(line)


def _scalar(value: Json) -> str:
    if type(value) in _SCALARS:
        return _shown(value)
    if type(value) not in _CONTAINERS:
        raise _OddError
    return "{}" if type(value) is dict else "[]"


@lru_cache(maxsize=_KEPT, typed=True)  # keys and most values stand in many files
def _shown(value: Json) -> str:
    """A value as it stands in a line."""
    if isinstance(value, str) and _TEXT.fullmatch(value):
        rules = _Dumper.yaml_implicit_resolvers.get(value[0], ())
        if not any(rule.match(value) for _, rule in rules):
            return value
    text: str = yaml.dump([value], Dumper=_Dumper, allow_unicode=True, width=1 << 30)
    lines = text.splitlines()
    if len(lines) != 1:
        raise _OddError
    return lines[0][len("- ") :]


_CONTAINERS = (dict, list)
_SCALARS = (str, int, bool, type(None))
"""Those of which equal ones look alike: 0.0 and -0.0 do not, and no status has them."""
