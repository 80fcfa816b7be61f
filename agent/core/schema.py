"""The kinds, as the files of `schemas/` describe them: validation, defaults, columns, and what the
engine knows of a field.

Beside JSON Schema's own keywords a schema says, where it is meant: `x-kind` (see `Kind`),
`x-columns` (tables), `x-apply` (how a change applies: immediate, restart or none; the nearest
ancestor's word counts), `x-apply-because` (why it waits for a restart), `x-list-key` (what
identifies an item of a list), `x-union` (the field that names the variant), `x-atomic` (compared
and shown as a whole), `x-quantity` (a size, of a memory or a disk), `x-secret` (with all below it;
`address`: of an address the credentials and the query), `x-ref` (names another object),
`x-immutable` (always, or once the object is ready),
`x-unsupported` (accepted, without effect here), `x-blank` (an empty text is as if the field were
absent), `x-known` (what is nearly one of these names, or of the properties, is a slip),
`x-base64-into` (plain text that is kept encoded under another field) and `x-message` (the sentence
when it does not hold).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path as FilePath
from typing import Any, Self

from agent.core.documents import Path
from agent.core.fields import (
    Field,
    FieldRule,
    Ref,
    defaulted,
    field_of,
    inherited,
    notes,
    references,
    rewritten,
    walk,
)
from agent.core.model import Json, Key
from agent.core.spelling import nearest

LATER = "later.txt"
"""The file beside the schemas with the kinds that have none yet, one a line."""
FORMER = "former.txt"
"""The file beside them with the kinds that the API has no more, one a line: `KIND: what to use`."""
LAST = 100
"""Order of kinds that have none of their own."""

_SNAKE = re.compile("(?<=[a-z])(?=[A-Z])")
_ANNOTATIONS = frozenset(
    (
        *("$schema", "$defs", "title", "description", "default", "x-kind", "x-columns", "x-apply"),
        *(
            "x-apply-because",
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
class Column:
    """A column of a table. `missing` is printed where `path` (JSONPath without braces) leads
    nowhere.
    """

    name: str
    path: str
    type: str
    wide: bool
    missing: str


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
    word: str
    """Before an object's name in lines that people read, as in `vd/root`; empty: its name alone."""
    order: int = LAST
    """Where the kind stands in reports, from 1; the others follow by name."""
    machine: bool = False
    """What the fleet is there for: its objects are domains. One kind is that."""
    request: bool = False
    """An object asks for something once, and is history when it has ended: what it says is what it
    is, it has a branch of its own, and a commit that deletes it takes it back.
    """
    module: str = ""
    """The name of the one object that counts, where others of the kind are not for gitvirt: it has
    the settings of the fleet, and confirms.
    """
    governs: bool = False
    """Its few objects decide about others that do not name them."""
    shared: bool = False
    """What may be done with an object depends on all that refer to it."""
    marks: tuple[str, ...] = ()
    """Fields of the spec that the operations branch may set, too: see core.marks."""
    guarded: bool = False
    """Many are not deleted at once without a confirmation."""
    irreversible: bool = False
    """A deletion begins at once, and is not taken back by a manifest that comes back."""
    lock: bool = False
    """An object says who has what its name says. Agents alone make it, for whoever takes it, and it
    stays for a while once it is released.
    """
    keeps_data: bool = False
    """A deleted object goes to the trash, with its data."""
    stateless: bool = False
    """An object has nothing to report."""
    default_by: str = ""
    """The annotation that, `true`, marks an object as the one of all that name none."""
    named_by: tuple[str, ...] = ()
    """Annotations on objects of other kinds that name one of these, `NAME` or `NAMESPACE/NAME`."""
    encrypted_as: tuple[str, ...] = ()
    """Kinds of other APIs that hold such an object encrypted."""

    def label(self, key: Key) -> str:
        """How an object is named in lines that people read: `linux-vm`, `vd/prod/root`."""
        space = "" if key.namespace in ("", "default") else f"{key.namespace}/"
        return f"{self.word}/{space}{key.name}" if self.word else f"{space}{key.name}"

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
                return inherited(node.rule)
            node = below
        return node.rule

    def fields(self) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
        """Every field of the schema with its rule; items of lists without an index."""
        yield from walk(self._tree, ())

    def problems(self, document: Json) -> list[tuple[Path, str]]:
        """Everything in a whole document that the schema does not allow, as (path, sentence)."""
        return self._problems(document)

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
        whole: dict[str, Json] = defaulted(self._tree, plain)
        return whole

    def notes(self, content: Mapping[str, Json]) -> list[str]:
        """Sentences about fields that are accepted and have no effect here. Give the content as it
        is written: a default is no wish of the user's.
        """
        told = notes(self._tree, dict(content), ())
        return [f"{'.'.join(map(str, path))} {text}" for path, text in told]

    def references(self, content: Mapping[str, Json]) -> Iterator[tuple[Ref, Json]]:
        """Whatever in the content names another object, as it is written: see core.references."""
        yield from references(self._tree, content)

    def rewritten(
        self, content: Mapping[str, Json], change: Callable[[Ref, Json, bool], Json]
    ) -> dict[str, Json]:
        """The content with its references changed: see core.fields."""
        whole: dict[str, Json] = rewritten(self._tree, content, change)
        return whole

    @cached_property
    def _tree(self) -> Field:
        return field_of(self.schema, FieldRule())

    @cached_property
    def _rules(self) -> dict[Path, FieldRule]:
        return dict(self.fields())

    @cached_property
    def _problems(self) -> Callable[[Json], list[tuple[Path, str]]]:
        from agent.core import sentences  # loads jsonschema, which most commands need not

        validator = sentences.compiled(_pruned(self.schema, secret=False))
        return partial(sentences.problems, validator)

    @cached_property
    def _encoded(self) -> tuple[tuple[str, str], ...]:
        fields = self.schema["properties"].items()
        return tuple((name, at["x-base64-into"]) for name, at in fields if "x-base64-into" in at)


class Catalogue:
    """All kinds."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        later: Iterable[str] = (),
        former: Mapping[str, str] = {},
    ) -> None:
        self.kinds = kinds
        self.later = frozenset(later) - kinds.keys()
        """Kinds of the API that are not served yet."""
        self.former = former
        """Kinds that the API has no more, with what to use instead."""
        self.groups = frozenset(
            _group(version) for kind in kinds.values() for version in kind.api_versions
        )

    @classmethod
    def load(cls, folder: FilePath | None = None) -> Self:
        """Read the schemas: those beside the installed package, else those of the project."""
        folder = folder or _folder()
        files = sorted(folder.glob("*.json"))
        kinds = (_kind(json.loads(file.read_text(encoding="utf-8"))) for file in files)
        later = (folder / LATER).read_text(encoding="utf-8").split()
        lines = (folder / FORMER).read_text(encoding="utf-8").splitlines()
        pairs = (line.partition(": ") for line in lines)
        former = {name: instead for name, _, instead in pairs}
        return cls({kind.name: kind for kind in kinds}, later, former)

    @cached_property
    def marked(self) -> frozenset[str]:
        """Names of the kinds that the operations branch may say part of."""
        return frozenset(kind.name for kind in self.kinds.values() if kind.marks)

    @cached_property
    def in_order(self) -> tuple[Kind, ...]:
        """The kinds as reports have them."""
        return tuple(sorted(self.kinds.values(), key=lambda kind: (kind.order, kind.name)))

    @cached_property
    def machine(self) -> Kind:
        """The kind whose objects are domains."""
        (kind,) = (kind for kind in self.kinds.values() if kind.machine)
        return kind

    @cached_property
    def requests(self) -> frozenset[str]:
        """Names of the kinds whose objects ask for something once."""
        return frozenset(kind.name for kind in self.kinds.values() if kind.request)

    @cached_property
    def named_by(self) -> Mapping[str, str]:
        """Annotations that name an object, with its kind."""
        return {name: kind.name for kind in self.kinds.values() for name in kind.named_by}

    @cached_property
    def settings(self) -> Key:
        """The object that has the settings of the fleet."""
        (kind,) = (kind for kind in self.kinds.values() if kind.module)
        return Key(kind.name, "", kind.module)

    def kind(self, api_version: str, name: str) -> Kind | None:
        """The kind of that name, if it is served in that version."""
        kind = self.kinds.get(name)
        return kind if kind is not None and api_version in kind.api_versions else None

    def find(self, text: str) -> Kind:
        """The kind that a person means: singular, plural, short name or kind, in any case, with or
        without its group. Raises ValueError with a sentence that lists what there is.
        """
        word = text.lower().partition(".")[0]
        kinds = [kind for kind in self.kinds.values() if word in (*kind.words, kind.name.lower())]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            names = ", ".join(kind.plural for kind in kinds)
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
    names: dict[str, Any] = {
        _SNAKE.sub("_", name).lower(): tuple(said) if isinstance(said, list) else said
        for name, said in raw["x-kind"].items()
    }
    columns = tuple(
        Column(at["name"], at["path"], at["type"], at["wide"], at.get("missing", ""))
        for at in raw["x-columns"]
    )
    return Kind(
        name=names.pop("kind"),
        namespaced=names.pop("scope") == "Namespaced",
        columns=columns,
        schema=schema,
        **names,
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
