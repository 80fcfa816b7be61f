"""What a template is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.core.model import Json


class JSONPathError(ValueError):
    """The template cannot be read; the message says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Field:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    at: slice


@dataclass(frozen=True, slots=True)
class Items:
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Every:
    pass


@dataclass(frozen=True, slots=True)
class Below:
    """The value itself and everything in it."""


@dataclass(frozen=True, slots=True)
class Filter:
    left: Operand
    compare: Callable[[Json, Json], bool] | None
    right: Operand | None


Step = Field | Slice | Items | Every | Below | Filter


@dataclass(frozen=True, slots=True)
class Path:
    steps: tuple[Step, ...]
    rooted: bool = False
    """True for `$…`: starts at the whole, also within a range."""


Operand = Path | str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Range:
    over: Path
    body: tuple[Node, ...]


Node = str | Path | Range
