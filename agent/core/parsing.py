"""From the bytes of a file to its documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from agent.core import json_text, yaml_text
from agent.core.documents import MAX_BYTES, Document, ParsedFile, Path, RefusedError
from agent.core.model import Json

T = TypeVar("T")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def parse(data: bytes) -> ParsedFile:
    """Read YAML: every document up to the first that cannot be read. Never raises; empty documents
    are skipped and kind List is taken apart.
    """
    return _parsed(data, yaml_text.read)


def parse_json(data: bytes) -> ParsedFile:
    """The same of JSON, one value or several in a row."""
    return _parsed(data, json_text.read)


def _parsed(data: bytes, read: Callable[[str], Iterator[Document]]) -> ParsedFile:
    documents: list[Document] = []
    try:
        for document in read(_text(data)):
            documents.extend(_flattened(document))
    except RefusedError as refusal:
        return ParsedFile(tuple(documents), ((refusal.line, refusal.message),))
    return ParsedFile(tuple(documents))


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise RefusedError(
            0, f"is larger than {MAX_BYTES // 1024} KiB: split it into several files"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RefusedError(line, "is not UTF-8 text: save it in that encoding") from error
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise RefusedError(line, f"holds the control character U+{ord(control[0]):04X}: remove it")
    return text


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
        raise RefusedError(document.line, f"holds a {value['kind']} that {outside[0]}")
    problems_of, again_of = _by_item(document.problems), _by_item(document.again)
    for index, item in enumerate(value["items"]):
        line = document.line_of(("items", index))
        problems, again = tuple(problems_of.get(index, ())), tuple(again_of.get(index, ()))
        yield from _flattened(Document(item, line, problems, document.lines, again))


def _is_list(value: dict[str, Json]) -> bool:
    kind = value.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list)


def _by_item(told: Iterable[tuple[Path, T]]) -> dict[str | int, list[tuple[Path, T]]]:
    """What belongs to each item of a List, seen from there."""
    items: dict[str | int, list[tuple[Path, T]]] = {}
    for path, value in told:
        if path[:1] == ("items",) and len(path) > 1:
            items.setdefault(path[1], []).append((path[2:], value))
    return items
