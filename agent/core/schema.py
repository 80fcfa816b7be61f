"""The kinds, as the files of `schemas/` describe them: validation, defaults, columns, and what the
engine knows of a field.

Beside JSON Schema's own keywords a schema says, where it is meant: `x-kind` (names and scope),
`x-columns` (tables), `x-apply` (how a change applies: immediate, restart or none; the nearest
ancestor's word counts), `x-list-key` (what identifies an item of a list), `x-union` (the field
that names the variant), `x-atomic` (compared and shown as a whole), `x-quantity` (a size, of a
memory or a disk), `x-secret` (with all below it), `x-ref` (names another object), `x-immutable`
(always, or once the object is ready), `x-unsupported` (accepted, without effect here), `x-blank`
(an empty text is as if the field were absent), `x-known` (what is nearly one of these names, or of
the properties, is a slip), `x-base64-into` (plain text that is kept encoded under another field)
and `x-message` (the sentence when it does not hold).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Self

from agent.core import sentences
from agent.core.documents import Path
from agent.core.model import Json
from agent.core.spelling import nearest

_ANNOTATIONS = frozenset(
    (
        *("$schema", "$defs", "title", "description", "default", "x-kind", "x-columns", "x-apply"),
        *(
            "x-list-key",
            "x-atomic",
            "x-ref",
            "x-immutable",
            "x-unsupported",
            "x-base64-into",
            "x-union",
        ),
    )
)
_SUBSCHEMAS = frozenset(
    ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else")
)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What the engine knows of one field."""

    apply: str = "restart"
    """immediate, restart or none."""
    list_key: tuple[str, ...] | None = None
    quantity: bool = False
    secret: bool = False
    structured: bool = False
    """True if its fields are compared one by one; else it is compared and shown whole."""
    ref: Mapping[str, str] | None = None
    """{"kind": K}, or {"kindFrom": field beside the name}: the text, or the object's `name`, names
    another object.
    """
    immutable: str = ""
    """always, ready, or empty."""
    union: str = ""
    """The field that says which variant it is; empty where there is one only."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `missing` is printed where `path` (JSONPath without braces) leads
    nowhere.
    """

    name: str
    path: str
    type: str
    wide: bool
    missing: str


@dataclass(frozen=True)
class _Node:
    """One place in a schema."""

    rule: FieldRule
    fields: Mapping[str, _Node]
    items: _Node | None
    additional: _Node | None
    default: Json
    defaults: Mapping[str, Json]
    """Defaults of the fields, where there are any."""
    blanks: frozenset[str]
    """The fields that an empty text leaves as if they were absent."""
    filled: bool
    """True if defaulting changes something here or anywhere below."""
    unsupported: str
    unsupported_values: tuple[Json, ...] | None
    noted: bool
    """True if there is something unsupported here or anywhere below."""

    def step(self, name: str | int) -> _Node | None:
        """The place of a field; a list's index may be given or left out."""
        if isinstance(name, int):
            return self.items
        found = self.fields.get(name) or self.additional
        if found is None and self.items is not None:
            return self.items.step(name)
        return found


_ABSENT = object()


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of object."""

    name: str
    api_versions: tuple[str, ...]
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    columns: tuple[Column, ...]
    """As `-o wide` prints them, without NAME and NAMESPACE; the plain table leaves out those that
    are `wide`.
    """
    schema: Mapping[str, Any] = field(repr=False)
    """The schema with its references filled in."""

    @property
    def words(self) -> tuple[str, ...]:
        """What people may call it."""
        return (self.singular, self.plural, *self.short_names)

    def rule(self, path: Path) -> FieldRule:
        """What is known of the field at a path such as ("spec", "cpu", "cores"); indexes of lists
        may be left out. Below what the schema knows, the nearest ancestor's word counts.
        """
        known = self._rules.get(path)
        if known is not None:
            return known
        node = self._tree
        for step in path:
            below = node.step(step)
            if below is None:
                return _inherited(node.rule)
            node = below
        return node.rule

    def fields(self) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
        """Every field of the schema with its rule; items of lists without an index."""
        yield from _walk(self._tree, ())

    def problems(self, document: Json) -> list[tuple[Path, str]]:
        """Everything in a whole document that the schema does not allow, as (path, sentence)."""
        return sentences.problems(self._validator, document)

    def defaulted(self, content: Mapping[str, Json]) -> dict[str, Json]:
        """The content with the schema's defaults, in objects that are there or have a default
        themselves, and with plain text encoded where it is kept so. The argument is not changed;
        parts without defaults are shared with it.
        """
        plain = dict(content)
        for name, target in self._encoded:
            texts = plain.pop(name, None)
            if texts:
                encoded = {key: _base64(text) for key, text in texts.items()}
                plain[target] = {**(plain.get(target) or {}), **encoded}
        filled: dict[str, Json] = _filled(self._tree, plain)
        return filled

    def notes(self, content: Mapping[str, Json]) -> list[str]:
        """Sentences about fields that are accepted and have no effect here. Give the content as it
        is written: a default is no wish of the user's.
        """
        found = _notes(self._tree, dict(content), ())
        return [f"{'.'.join(map(str, path))} {text}" for path, text in found]

    @cached_property
    def _tree(self) -> _Node:
        return _node(self.schema, FieldRule())

    @cached_property
    def _rules(self) -> dict[Path, FieldRule]:
        return dict(self.fields())

    @cached_property
    def _validator(self) -> sentences.Validator:
        return sentences.compiled(_pruned(self.schema, secret=False))

    @cached_property
    def _encoded(self) -> tuple[tuple[str, str], ...]:
        fields = self.schema["properties"].items()
        return tuple((name, at["x-base64-into"]) for name, at in fields if "x-base64-into" in at)


class Catalogue:
    """All kinds."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self.groups = frozenset(
            _group(version) for kind in kinds.values() for version in kind.api_versions
        )

    @classmethod
    def load(cls, folder: FilePath | None = None) -> Self:
        """Read the schemas: those beside the installed package, else those of the project."""
        files = sorted((folder or _folder()).glob("*.json"))
        found = (_kind(json.loads(file.read_text(encoding="utf-8"))) for file in files)
        return cls({kind.name: kind for kind in found})

    def kind(self, api_version: str, name: str) -> Kind | None:
        """The kind of that name, if it is served in that version."""
        kind = self.kinds.get(name)
        return kind if kind is not None and api_version in kind.api_versions else None

    def find(self, text: str) -> Kind:
        """The kind that a person means: singular, plural, short name or kind, in any case, with or
        without its group. Raises ValueError with a sentence that lists what there is.
        """
        word = text.lower().partition(".")[0]
        found = [kind for kind in self.kinds.values() if word in (*kind.words, kind.name.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(kind.plural for kind in found)
            raise ValueError(f"{text!r} could mean {names}: write which one")
        meant = nearest(word, [name for kind in self.kinds.values() for name in kind.words])
        hint = f"did you mean {meant}?" if meant else f"known are {', '.join(self._plurals())}"
        raise ValueError(f"there is no kind {text!r}: {hint}")

    def _plurals(self) -> list[str]:
        return sorted(kind.plural for kind in self.kinds.values())

    def problems(self, kind: Kind, document: Json) -> list[tuple[Path, str]]:
        """Everything in a whole document that the kind's schema does not allow, as (path,
        sentence).
        """
        return kind.problems(document)

    def defaulted(self, kind: Kind, content: Mapping[str, Json]) -> dict[str, Json]:
        """The content as it is stored: see Kind.defaulted."""
        return kind.defaulted(content)

    def rule(self, kind: Kind, path: Path) -> FieldRule:
        """What is known of a field: see Kind.rule."""
        return kind.rule(path)

    def notes(self, kind: Kind, content: Mapping[str, Json]) -> list[str]:
        """Sentences about fields that are accepted and have no effect here: see Kind.notes."""
        return kind.notes(content)


def _folder() -> FilePath:
    package = FilePath(__file__).resolve().parent.parent
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _kind(raw: Mapping[str, Any]) -> Kind:
    schema = _resolved(raw, raw.get("$defs", {}))
    names = raw["x-kind"]
    columns = tuple(
        Column(at["name"], at["path"], at["type"], at["wide"], at.get("missing", ""))
        for at in raw["x-columns"]
    )
    return Kind(
        name=names["kind"],
        api_versions=tuple(names["apiVersions"]),
        plural=names["plural"],
        singular=names["singular"],
        short_names=tuple(names["shortNames"]),
        namespaced=names["scope"] == "Namespaced",
        columns=columns,
        schema=schema,
    )


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with each `$ref` replaced by what it names; what stands beside it wins."""
    if isinstance(schema, list):
        return [_resolved(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    own = {name: _resolved(part, definitions) for name, part in schema.items() if name != "$defs"}
    reference = own.pop("$ref", None)
    if reference is None:
        return own
    named = _resolved(definitions[reference.removeprefix("#/$defs/")], definitions)
    return {**named, **own}


def _pruned(schema: Any, *, secret: bool) -> Any:
    """Only what validation needs. A secret's marker goes down to all below it, so that messages can
    leave values out.
    """
    if not isinstance(schema, dict):
        return schema
    secret = secret or bool(schema.get("x-secret"))
    kept: dict[str, Any] = {"x-secret": True} if secret else {}
    for name, part in schema.items():
        if name == "properties":
            kept[name] = {key: _pruned(at, secret=secret) for key, at in part.items()}
        elif name in _SUBSCHEMAS:
            kept[name] = _pruned(part, secret=secret)
        elif name == "allOf":
            kept[name] = [_pruned(at, secret=secret) for at in part]
        elif name not in _ANNOTATIONS and not (name == "pattern" and "x-quantity" in schema):
            kept[name] = part
    # a mapping without rules allows everything, which is quicker to see than to try
    return kept or True


def _inherited(rule: FieldRule) -> FieldRule:
    return FieldRule(apply=rule.apply, secret=rule.secret, immutable=rule.immutable)


def _node(schema: Mapping[str, Any], parent: FieldRule) -> _Node:
    rule = _rule(schema, parent)
    fields = {name: _node(part, rule) for name, part in schema.get("properties", {}).items()}
    items = _node(schema["items"], rule) if isinstance(schema.get("items"), dict) else None
    more = schema.get("additionalProperties")
    additional = _node(more, rule) if isinstance(more, dict) else None
    below = [*fields.values(), *(node for node in (items, additional) if node is not None)]
    unsupported, values = _unsupported(schema)
    default = schema.get("default", _ABSENT)
    parts = schema.get("properties", {}).items()
    blanks = frozenset(name for name, part in parts if sentences.blank(part))
    return _Node(
        rule=rule,
        fields=fields,
        items=items,
        additional=additional,
        default=default,
        defaults={name: at.default for name, at in fields.items() if at.default is not _ABSENT},
        blanks=blanks,
        filled=default is not _ABSENT or bool(blanks) or any(node.filled for node in below),
        unsupported=unsupported,
        unsupported_values=values,
        noted=bool(unsupported) or any(node.noted for node in below),
    )


def _rule(schema: Mapping[str, Any], parent: FieldRule) -> FieldRule:
    key = schema.get("x-list-key")
    return replace(
        _inherited(parent),
        apply=schema.get("x-apply", parent.apply),
        list_key=tuple(key) if key else None,
        quantity=bool(schema.get("x-quantity")),
        secret=parent.secret or bool(schema.get("x-secret")),
        structured=bool(schema.get("properties")) and not schema.get("x-atomic"),
        union=schema.get("x-union", ""),
        ref=schema.get("x-ref"),
        immutable=schema.get("x-immutable", parent.immutable),
    )


def _unsupported(schema: Mapping[str, Any]) -> tuple[str, tuple[Json, ...] | None]:
    said = schema.get("x-unsupported", "")
    if isinstance(said, dict):
        return said["message"], tuple(said["values"])
    return said, None


def _walk(node: _Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
    if path:
        yield path, node.rule
    for name, below in node.fields.items():
        yield from _walk(below, (*path, name))
    if node.items is not None:
        for name, below in node.items.fields.items():
            yield from _walk(below, (*path, name))


def _filled(node: _Node, value: Json) -> Json:
    if isinstance(value, list) and node.items is not None:
        items = node.items
        return [_filled(items, item) for item in value] if items.filled else value
    if not isinstance(value, dict):
        return value
    filled = {name: item for name, item in value.items() if item != "" or name not in node.blanks}
    for name, default in node.defaults.items():
        if name not in filled:
            filled[name] = default
    for name, item in filled.items():
        below = node.fields.get(name) or node.additional
        if below is not None and below.filled:
            filled[name] = _filled(below, item)
    return filled


def _notes(node: _Node, value: Json, path: Path) -> Iterator[tuple[Path, str]]:
    if not node.noted:
        return
    values = node.unsupported_values
    if node.unsupported and (values is None or value in values):
        about = "" if values is None else f"{sentences.shown(value)} "
        yield path, f"{about}{node.unsupported}"
    elif isinstance(value, dict):
        for name, item in value.items():
            below = node.step(name)
            if below is not None:
                yield from _notes(below, item, (*path, name))
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from _notes(node.items, item, (*path, index))
