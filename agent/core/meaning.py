"""What a document may have meant that does not count: nothing of it is deleted.

One slip of the pen makes another kind, another API or no object at all of a manifest, joins two of
them, or puts one where nobody looks. So a document that does not hold means whatever has its name,
or what has its kind where its name cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.core.documents import Document, Path
from agent.core.model import Json, Meant
from agent.core.recognition import Wrong, at, name_of, namespace_of, recognise
from agent.core.schema import Catalogue, Kind

_KIND = re.compile(r"^[ \t\"'-]*kind[\"']?:[ \t]*[\"']?(\w+)", re.MULTILINE)
_NAME = re.compile(r"^[ \t\"'-]*name[\"']?:[ \t]*[\"']?([a-z0-9.-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Hidden:
    """A mapping inside of a document that looks like an object of ours."""

    path: Path
    value: dict[str, Json]


def meant_by(catalogue: Catalogue, document: Document, *, misnamed: bool) -> frozenset[Meant]:
    """What a document may mean that does not hold; empty if it names nothing, and may mean
    anything. `misnamed` says that its own name is what does not hold.
    """
    meant = named_by(catalogue, document.value)
    if misnamed:
        meant |= _of_kind(catalogue, document.value)
    for _, part in document.again:
        meant |= named_by(catalogue, part)
        name = name_of({"metadata": part})  # a name that stands there twice
        if name is not None:
            meant.add(Meant(None, None, name))
    for inside in hidden(catalogue, document):
        meant |= named_by(catalogue, inside.value)
    texts = (value for _, value in _parts(document) if isinstance(value, str))
    for text, kinds in _with_objects(catalogue, texts):  # the names may be left outside
        meant |= _names(text) | {Meant(kind, None, None) for kind in kinds}
    return frozenset(meant)


def named_by(catalogue: Catalogue, value: Json) -> set[Meant]:
    """What one mapping names: by its name whatever has it, since its kind may be the slip; else by
    its kind.
    """
    name, namespace = name_of(value), namespace_of(value)
    if name is None:
        return _of_kind(catalogue, value)
    if namespace is None:  # it may be what is lost
        return {Meant(None, None, name)}
    return {Meant(None, namespace, name), Meant(None, "", name)}


def _of_kind(catalogue: Catalogue, value: Json) -> set[Meant]:
    name = at(value, "kind")
    kind = catalogue.kinds.get(name) if isinstance(name, str) else None
    if kind is None or value.keys() <= {"apiVersion", "kind"}:  # cut off, maybe within the kind
        return set()
    return {Meant(kind.name, None, None)}  # what took its name may have taken its namespace, too


def hidden(catalogue: Catalogue, document: Document) -> Iterator[Hidden]:
    """Objects that stand inside of a document, or behind another one whose keys they repeat."""
    for path, value in _parts(document):
        if isinstance(value, dict) and value is not document.value and _is_ours(catalogue, value):
            yield Hidden(path, value)


def in_texts(catalogue: Catalogue, texts: Iterable[str]) -> frozenset[Meant]:
    """What may be meant by texts with an object in them: one that was moved to the right becomes a
    part of the text above it.
    """
    held = _with_objects(catalogue, texts)
    return frozenset(name for text, _ in held for name in _names(text))


def _with_objects(catalogue: Catalogue, texts: Iterable[str]) -> Iterator[tuple[str, set[str]]]:
    """Texts of several lines in which an object of ours stands, with the kinds in them."""
    for text in texts:
        if "\n" in text and "apiVersion" in text:
            kinds = catalogue.kinds.keys() & set(_KIND.findall(text))
            if kinds:
                yield text, kinds


def _names(text: str) -> set[Meant]:
    return {Meant(None, None, name) for name in _NAME.findall(text)}


def _parts(document: Document) -> Iterator[tuple[Path, Json]]:
    """Every value of a document with its path, each once."""
    seen = {id(document.value)}
    parts: list[tuple[Path, Json]] = [((), document.value), *document.again]
    while parts:
        path, value = parts.pop()
        yield path, value
        if not isinstance(value, dict | list):
            continue
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in inside:
            if id(item) not in seen:
                seen.add(id(item))
                parts.append(((*path, step), item))


def _is_ours(catalogue: Catalogue, value: dict[str, Json]) -> bool:
    """True for a mapping with the head of an object: what only refers to one has less."""
    version, name = at(value, "apiVersion"), at(value, "kind")
    if not isinstance(name, str):
        return False
    if not isinstance(version, str) and not isinstance(at(value, "metadata"), dict):
        return False
    recognised = recognise(catalogue, value)
    if isinstance(recognised, Wrong):
        return recognised.kind is not None or isinstance(version, str)
    return isinstance(recognised, Kind)
