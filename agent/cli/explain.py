"""`gitvirt explain`: what a field of a manifest means, as the schemas say it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.cli import targets
from agent.cli.command import CommandError, Subparsers
from agent.core.fields import FieldRule
from agent.core.human import shown
from agent.core.schema import Catalogue, Kind
from agent.core.spelling import nearest
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt explain vm                       the fields of a virtual machine
  gitvirt explain vm.spec.cpu              those of one field
  gitvirt explain vm.spec.runPolicy        what it means, what is allowed, when a change applies
  gitvirt explain vmclass.spec --recursive
"""
_WIDTH = 80
_APPLIES = {
    "immediate": "at once, also to a machine that runs",
    "restart": "at the next restart of the machine",
    "none": "to nothing yet",
}

Schema = Mapping[str, Any]


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="what a field of a manifest means",
        description="Show what a kind or one of its fields means, what is allowed in it, and when "
        "a change of it applies. Needs no repository.",
        epilog=_EPILOG,
    )
    parser.add_argument("field", metavar="KIND[.FIELD…]", help="such as vm.spec.cpu")
    parser.add_argument(
        "--recursive", action="store_true", help="all fields below, without their descriptions"
    )


def run(args: argparse.Namespace, _: Settings) -> int:
    word, *path = args.field.split(".")
    kind = targets.kind(Catalogue.load(), word)
    print("\n".join(explained(kind, path, recursive=args.recursive)))
    return 0


def explained(kind: Kind, path: Sequence[str], *, recursive: bool) -> Iterator[str]:
    """Lines about a field, or about the whole kind. CommandError if there is no such field."""
    schema, required = _at(kind, path)
    group = kind.api_versions[0].rpartition("/")[0]
    versions = [version.rpartition("/")[2] for version in kind.api_versions]
    if group:
        yield f"GROUP:      {group}"
    yield f"KIND:       {kind.name}"
    yield f"VERSION:    {', '.join(versions)}"
    yield ""
    if path:
        yield f"FIELD: {path[-1]} {_typed(schema)}{' -required-' if required else ''}"
        yield ""
    yield "DESCRIPTION:"
    yield from _wrapped(str(schema.get("description") or f"A {kind.name}."), "    ")
    yield from _facts(schema, kind.rule(tuple(path)), of_a_machine=_is_spec(kind, path))
    if _fields(schema):
        yield ""
        yield "FIELDS:"
        yield from _tree(schema, "  ") if recursive else _described(schema)


def _is_spec(kind: Kind, path: Sequence[str]) -> bool:
    return kind.machine and len(path) > 1 and path[0] == "spec"


def _at(kind: Kind, path: Sequence[str]) -> tuple[Schema, bool]:
    """The schema at a path, and whether the field is required. Items of lists are stepped into."""
    schema: Schema = kind.schema
    required = False
    for depth, name in enumerate(path):
        fields = _fields(schema)
        if name not in fields:
            raise CommandError(_no_field(kind, path[: depth + 1], fields))
        required = name in _object(schema).get("required", ())
        schema = fields[name]
    return schema, required


def _no_field(kind: Kind, path: Sequence[str], fields: Mapping[str, Schema]) -> str:
    around, name = ".".join(path[:-1]), path[-1]
    said = f"{kind.name} has no field {'.'.join(path)}"
    if not fields:
        return f"{said}: there are none below {around}"
    meant = nearest(name, fields)
    if meant:
        return f"{said}: did you mean {'.'.join((*path[:-1], meant))}?"
    return f"{said}: known are {', '.join(fields)}"


def _object(schema: Schema) -> Schema:
    """What holds the fields: of a list its items."""
    while isinstance(schema.get("items"), Mapping):
        schema = schema["items"]
    return schema


def _fields(schema: Schema) -> Mapping[str, Schema]:
    """What may be written: without what only a server sets, of which nothing is said."""
    fields: Mapping[str, Schema] = _object(schema).get("properties", {})
    return {name: part for name, part in fields.items() if part.get("description")}


def _typed(schema: Schema) -> str:
    """The type as kubectl writes it: `<string>`, `<[]Object>`, `<map[string]string>`."""
    return f"<{_type(schema)}>"


def _type(schema: Schema) -> str:
    named = schema.get("type", "any")
    names = [name for name in ([named] if isinstance(named, str) else named) if name != "null"]
    if names == ["array"]:
        items = schema.get("items")
        return f"[]{_type(items) if isinstance(items, Mapping) else 'any'}"
    if names == ["object"]:
        more = schema.get("additionalProperties")
        of_any_name = isinstance(more, Mapping) and not schema.get("properties")
        return f"map[string]{_type(more or {})}" if of_any_name else "Object"
    return " or ".join(names)


def _facts(schema: Schema, rule: FieldRule, *, of_a_machine: bool) -> Iterator[str]:
    """What one has to know to write a value."""
    allowed = schema.get("enum")
    if allowed and len(allowed) > 1:
        yield ""
        yield "ENUM:"
        yield from (f"    {value}" for value in allowed)
    said: list[tuple[str, str]] = []
    if "default" in schema and schema["default"] != {}:
        said.append(("DEFAULT:", str(shown(schema["default"]))))
    bounds = _bounds(schema)
    if bounds:
        said.append(("ALLOWED:", bounds))
    if of_a_machine:
        why = f", because {rule.because}" if rule.because and rule.apply == "restart" else ""
        said.append(("APPLIES:", _APPLIES[rule.apply] + why))
    if rule.immutable:
        when = "never" if rule.immutable == "always" else "only until the object is ready"
        said.append(("CHANGES:", when))
    unsupported = schema.get("x-unsupported")
    if isinstance(unsupported, str):
        said.append(("HERE:", unsupported))
    elif unsupported:
        values = ", ".join(map(str, unsupported["values"]))
        said.append(("HERE:", f"{values}: {unsupported['message']}"))
    for name, text in said:
        yield ""
        yield f"{name}    {text}"


def _bounds(schema: Schema) -> str:
    if "x-message" in schema:
        return str(schema["x-message"]).removeprefix("must be ")
    words = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "minItems": "at least {} entries",
        "maxItems": "at most {} entries",
    }
    return ", ".join(text.format(schema[name]) for name, text in words.items() if name in schema)


def _described(schema: Schema) -> Iterator[str]:
    required = _object(schema).get("required", ())
    for name, part in _fields(schema).items():
        yield f"  {name}\t{_typed(part)}{' -required-' if name in required else ''}"
        yield from _wrapped(str(part["description"]), "    ")
        yield ""


def _tree(schema: Schema, indent: str) -> Iterator[str]:
    required = _object(schema).get("required", ())
    for name, part in _fields(schema).items():
        yield f"{indent}{name}\t{_typed(part)}{' -required-' if name in required else ''}"
        yield from _tree(part, f"{indent}  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
