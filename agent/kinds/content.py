"""Looking into content that may have any shape: what is not there, or of another type, is empty."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from agent.core.documents import Path
from agent.core.model import Json

Name = TypeVar("Name", bound=Hashable)


def at(value: Json, *path: str) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def mapping(value: Json, *path: str) -> dict[str, Json]:
    part = at(value, *path)
    return part if isinstance(part, dict) else {}


def items(value: Json, *path: str) -> list[Json]:
    part = at(value, *path)
    return part if isinstance(part, list) else []


def text(value: Json, *path: str) -> str:
    part = at(value, *path)
    return part if isinstance(part, str) else ""


def integer(value: Json, *path: str) -> int | None:
    part = at(value, *path)
    return part if isinstance(part, int) and not isinstance(part, bool) else None


def repeated(names: Iterable[tuple[Path, Name]]) -> Iterator[tuple[Path, Name]]:
    """The places whose name stood at an earlier place already."""
    seen: set[Name] = set()
    for path, name in names:
        if name in seen:
            yield path, name
        seen.add(name)
