"""What the engine knows of the fields of a schema, as a tree: made once a kind, walked for every
manifest. See `agent.core.schema` for the keywords.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.core.documents import Path
from agent.core.human import shown
from agent.core.model import Json


@dataclass(frozen=True, slots=True)
class Ref:
    """That a field names another object: the text itself, or the `name` of a mapping."""

    kind: str = ""
    """Of the object; empty where the field `kind` beside the name says it."""
    uses: bool = False
    """True if the object is in use as long as somebody refers to it."""
    attaches: bool = False
    """True if the object is a VM that something is attached to."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What the engine knows of one field."""

    apply: str = "restart"
    """immediate, restart or none."""
    because: str = ""
    """Why a change waits for a restart, as half a sentence; empty where nobody has to ask."""
    list_key: tuple[str, ...] | None = None
    quantity: bool = False
    secret: bool = False
    address: bool = False
    """True if it is an address whose credentials and query are secret."""
    structured: bool = False
    """True if its fields are compared one by one; else it is compared and shown whole."""
    ref: Ref | None = None
    immutable: str = ""
    """always, ready, or empty."""
    union: str = ""
    """The field that says which variant it is; empty where there is one only."""


@dataclass(frozen=True)
class Field:
    """One place in a schema."""

    rule: FieldRule
    fields: Mapping[str, Field]
    items: Field | None
    additional: Field | None
    default: Json
    defaults: Mapping[str, Json]
    """Defaults of the fields, where there are any."""
    blanks: frozenset[str]
    """The fields that an empty text leaves as if they were absent."""
    filled: bool
    """True if defaulting can change something of what is here, or anywhere below."""
    unsupported: str
    unsupported_values: tuple[Json, ...] | None
    noted: bool
    """True if there is something unsupported here or anywhere below."""
    referring: bool
    """True if another object is named here or anywhere below."""

    def step(self, name: str | int) -> Field | None:
        """The place of a field; a list's index may be given or left out."""
        if isinstance(name, int):
            return self.items
        field = self.fields.get(name) or self.additional
        if field is None and self.items is not None:
            return self.items.step(name)
        return field


_ABSENT = object()


def inherited(rule: FieldRule) -> FieldRule:
    return FieldRule(
        apply=rule.apply, because=rule.because, secret=rule.secret, immutable=rule.immutable
    )


def blank(schema: Mapping[str, Any] | bool) -> bool:
    """True for a field that an empty text leaves as if it were absent."""
    return isinstance(schema, Mapping) and bool(schema.get("x-blank"))


def field_of(schema: Mapping[str, Any], parent: FieldRule) -> Field:
    rule = _rule(schema, parent)
    fields = {name: field_of(part, rule) for name, part in schema.get("properties", {}).items()}
    items = field_of(schema["items"], rule) if isinstance(schema.get("items"), dict) else None
    more = schema.get("additionalProperties")
    additional = field_of(more, rule) if isinstance(more, dict) else None
    below = [*fields.values(), *(node for node in (items, additional) if node is not None)]
    unsupported, values = _unsupported(schema)
    default = schema.get("default", _ABSENT)
    parts = schema.get("properties", {}).items()
    defaults = {name: at.default for name, at in fields.items() if at.default is not _ABSENT}
    blanks = frozenset(name for name, part in parts if blank(part))
    return Field(
        rule=rule,
        fields=fields,
        items=items,
        additional=additional,
        default=default,
        defaults=defaults,
        blanks=blanks,
        filled=bool(defaults) or bool(blanks) or any(node.filled for node in below),
        unsupported=unsupported,
        unsupported_values=values,
        noted=bool(unsupported) or any(node.noted for node in below),
        referring=rule.ref is not None or any(node.referring for node in below),
    )


def _rule(schema: Mapping[str, Any], parent: FieldRule) -> FieldRule:
    key = schema.get("x-list-key")
    return replace(
        inherited(parent),
        apply=schema.get("x-apply", parent.apply),
        because=schema.get("x-apply-because", parent.because),
        list_key=tuple(key) if key else None,
        quantity=bool(schema.get("x-quantity")),
        secret=parent.secret or schema.get("x-secret") is True,
        address=schema.get("x-secret") == "address",
        structured=bool(schema.get("properties")) and not schema.get("x-atomic"),
        union=schema.get("x-union", ""),
        ref=Ref(**schema["x-ref"]) if "x-ref" in schema else None,
        immutable=schema.get("x-immutable", parent.immutable),
    )


def _unsupported(schema: Mapping[str, Any]) -> tuple[str, tuple[Json, ...] | None]:
    said = schema.get("x-unsupported", "")
    if isinstance(said, dict):
        return said["message"], tuple(said["values"])
    return said, None


def walk(node: Field, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
    if path:
        yield path, node.rule
    for name, below in node.fields.items():
        yield from walk(below, (*path, name))
    if node.items is not None:
        for name, below in node.items.fields.items():
            yield from walk(below, (*path, name))


def defaulted(node: Field, value: Json) -> Json:
    if isinstance(value, list) and node.items is not None:
        items = node.items
        return [defaulted(items, item) for item in value] if items.filled else value
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name in node.blanks:
        if filled.get(name) == "":
            del filled[name]
    for name, default in node.defaults.items():
        if name not in filled:
            filled[name] = default
    for name, item in filled.items():
        below = node.fields.get(name) or node.additional
        if below is not None and below.filled:
            filled[name] = defaulted(below, item)
    return filled


def notes(node: Field, value: Json, path: Path) -> Iterator[tuple[Path, str]]:
    if not node.noted:
        return
    values = node.unsupported_values
    if node.unsupported and (values is None or value in values):
        about = "" if values is None else f"{shown(value)} "
        yield path, f"{about}{node.unsupported}"
    elif isinstance(value, dict):
        for name, item in value.items():
            below = node.step(name)
            if below is not None:
                yield from notes(below, item, (*path, name))
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from notes(node.items, item, (*path, index))


def references(node: Field, value: Json) -> Iterator[tuple[Ref, Json]]:
    """Whatever names another object, as it is written."""
    if not node.referring:
        return
    if node.rule.ref is not None:
        yield node.rule.ref, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            below = node.step(name)
            if below is not None:
                yield from references(below, item)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            yield from references(node.items, item)


def rewritten(node: Field, value: Json, change: Callable[[Ref, Json, bool], Json]) -> Json:
    """The value with what names another object as `change` gives it, which is told whether that is
    an item of a list. A field or item that it gives None for is left out. The argument is not
    changed.
    """
    if not node.referring:
        return value
    if isinstance(value, Mapping):
        pairs = ((name, _changed(node.step(name), item, change)) for name, item in value.items())
        return {name: item for name, item in pairs if item is not None}
    if isinstance(value, list) and node.items is not None:
        items = (_changed(node.items, item, change, listed=True) for item in value)
        return [item for item in items if item is not None]
    return value


def _changed(
    node: Field | None,
    value: Json,
    change: Callable[[Ref, Json, bool], Json],
    *,
    listed: bool = False,
) -> Json:
    if node is None:
        return value
    ref = node.rule.ref
    return rewritten(node, value, change) if ref is None else change(ref, value, listed)
