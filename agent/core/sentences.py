"""JSON Schema's keywords with sentences that say what is allowed. The only importer of jsonschema.

Differences from plain jsonschema: patterns match up to the very end (Python's `$` lets a final
newline pass), 2.0 and true are no integers, every unknown and every missing field is an error of
its own at its own path, and `x-message` of a schema replaces the sentence. Schemas must hold no
`$ref` any more (see `agent.core.schema`), which makes this several times faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Protocol

from jsonschema import Draft202012Validator, TypeChecker, ValidationError
from jsonschema.validators import extend

from agent.core.documents import Path
from agent.core.fields import blank
from agent.core.human import shown
from agent.core.model import Json
from agent.core.quantity import meant, parse
from agent.core.spelling import nearest

MAX_PROBLEMS = 50

Schema = Mapping[str, Any]
Errors = Iterator[ValidationError]

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


class Validator(Protocol):
    """What of jsonschema's validator is used here."""

    def iter_errors(self, instance: Any) -> Iterable[ValidationError]: ...
    def is_type(self, instance: Any, type: str) -> bool: ...  # noqa: A002


def compiled(schema: Schema) -> Validator:
    """A validator of a schema without references."""
    validator: Validator = _Validator(schema)
    return validator


def problems(validator: Validator, value: Json) -> list[tuple[Path, str]]:
    """Everything that is wrong with a value, at most MAX_PROBLEMS, in the schema's order."""
    problems: dict[tuple[Path, str], None] = {}
    for error in islice(validator.iter_errors(value), MAX_PROBLEMS):
        problems[(tuple(error.absolute_path), error.message)] = None
    return list(problems)


def _said(schema: Schema, sentence: str) -> ValidationError:
    message: str = schema.get("x-message", sentence)
    return ValidationError(message)


def _wrong(schema: Schema, sentence: str, value: Json) -> ValidationError:
    """The sentence, and what was found instead unless it is secret."""
    message = schema.get("x-message", sentence)
    return ValidationError(message if schema.get("x-secret") else f"{message}, not {shown(value)}")


def _secret_below(schema: Any) -> bool:
    """True if a value in place of these fields may be the text that one of them keeps secret."""
    if isinstance(schema, Mapping):
        return bool(schema.get("x-secret")) or any(map(_secret_below, schema.values()))
    return isinstance(schema, list) and any(map(_secret_below, schema))


def _descend(validator: Any, value: Json, schema: Any, step: str | int) -> Errors:
    """Errors of a part. jsonschema's own way costs most of the time, for references that there are
    not.
    """
    if schema is True:
        return
    keywords = validator.VALIDATORS
    for name, wanted in schema.items():
        keyword = keywords.get(name)
        if keyword is not None:
            for error in keyword(validator, wanted, value, schema) or ():
                error.path.appendleft(step)
                yield error


def _here(validator: Any, value: Json, schema: Any) -> Errors:
    if schema is True:
        return
    keywords = validator.VALIDATORS
    for name, wanted in schema.items():
        keyword = keywords.get(name)
        if keyword is not None:
            yield from keyword(validator, wanted, value, schema) or ()


def _type(validator: Any, wanted: str | list[str], value: Json, schema: Schema) -> Errors:
    names = [wanted] if isinstance(wanted, str) else wanted
    if any(validator.is_type(value, name) for name in names):
        return
    allowed = " or ".join(_TYPES[name] for name in names if name != "null")
    if value is None:
        yield ValidationError(
            f"must be {allowed}, but is empty: give a value or leave the field out"
        )
    elif "string" in names and isinstance(value, bool | int | float):
        why = "; yes, no, on and off are true and false in YAML" if isinstance(value, bool) else ""
        if isinstance(value, int) and not why and "x-quantity" in schema:
            why = _size_hint(value, schema)
        yield ValidationError(f"must be {allowed}: put it in quotes{why}")
    elif isinstance(value, str) and _secret_below(schema):
        yield _said(schema, f"must be {allowed}, not text")
    else:
        yield _wrong(schema, f"must be {allowed}", value)


def _properties(validator: Any, fields: Schema, value: Json, _: Schema) -> Errors:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in fields and not (item == "" and blank(fields[name])):
                yield from _descend(validator, item, fields[name], name)


def _known(_: Any, wanted: bool | list[str], value: Json, schema: Schema) -> Errors:
    """What is unknown is accepted, but for what is nearly one of the known names: it is a slip."""
    if isinstance(value, dict):
        known = schema["properties"]
        free = [field for field in known if field not in value]
        for name in islice((name for name in value if name not in known), MAX_PROBLEMS):
            near = nearest(name, free)
            if near:
                yield ValidationError(f"is no known field: did you mean {near}?", path=(name,))
    elif isinstance(value, str) and isinstance(wanted, list) and value not in wanted:
        near = nearest(value, wanted)
        if near:
            yield _said(schema, f"is not known: did you mean {near}?")


def _additional(validator: Any, wanted: Any, value: Json, schema: Schema) -> Errors:
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for name, item in value.items():
        if name in known:
            continue
        if wanted is not False:
            yield from _descend(validator, item, wanted, name)
            continue
        meant = nearest(name, [field for field in known if field not in value])
        hint = f": did you mean {meant}?" if meant else f": known are {', '.join(sorted(known))}"
        yield ValidationError(f"is no known field{hint}", path=(name,))


def _required(_: Any, names: list[str], value: Json, schema: Schema) -> Errors:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                # the path of a missing field is where it would stand
                yield ValidationError(schema.get("x-message", "is required"), path=(name,))


def _items(validator: Any, wanted: Any, value: Json, _: Schema) -> Errors:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _descend(validator, item, wanted, index)


def _all_of(validator: Any, parts: list[Any], value: Json, _: Schema) -> Errors:
    for part in parts:
        yield from _here(validator, value, part)


def _if(validator: Any, condition: Any, value: Json, schema: Schema) -> Errors:
    holds = next(_here(validator, value, condition), None) is None
    branch = schema.get("then" if holds else "else", True)
    yield from _here(validator, value, branch)


def _negated(validator: Any, wanted: Any, value: Json, schema: Schema) -> Errors:
    if next(_here(validator, value, wanted), None) is None:
        yield _said(schema, "is not allowed here")


def _property_names(validator: Any, wanted: Any, value: Json, _: Schema) -> Errors:
    if isinstance(value, dict):
        for name in value:
            yield from _descend(validator, name, wanted, name)


def _enum(_: Any, allowed: list[Json], value: Json, schema: Schema) -> Errors:
    if any(value == choice and type(value) is type(choice) for choice in allowed):
        return
    if not isinstance(value, str):
        return
    choices = [str(choice) for choice in allowed]
    meant = nearest(value, choices)
    hint = f" (did you mean {meant}?)" if meant else ""
    words = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    yield _wrong(schema, f"must be {words}{hint}", value)


def _const(_: Any, wanted: Json, value: Json, schema: Schema) -> Errors:
    if value != wanted or type(value) is not type(wanted):
        yield _wrong(schema, f"must be {shown(wanted)}", value)


def _number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _minimum(_: Any, bound: float, value: Json, schema: Schema) -> Errors:
    if _number(value) and value < bound:
        yield _wrong(schema, f"must be at least {bound}", value)


def _maximum(_: Any, bound: float, value: Json, schema: Schema) -> Errors:
    if _number(value) and value > bound:
        yield _wrong(schema, f"must be at most {bound}", value)


def _min_length(_: Any, bound: int, value: Json, schema: Schema) -> Errors:
    if isinstance(value, str) and len(value) < bound:
        few = "must have text" if bound == 1 else f"must have at least {bound} characters"
        yield _wrong(schema, few, value)


def _max_length(_: Any, bound: int, value: Json, schema: Schema) -> Errors:
    if isinstance(value, str) and len(value) > bound:
        yield _wrong(schema, f"must have at most {bound} characters", value)


@cache
def _full(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def _pattern(_: Any, pattern: str, value: Json, schema: Schema) -> Errors:
    if not isinstance(value, str) or len(value) > schema.get("maxLength", len(value)):
        return
    if not _full(pattern).search(value):
        yield _wrong(schema, f"must match {pattern}", value)


def _min_items(_: Any, bound: int, value: Json, schema: Schema) -> Errors:
    if isinstance(value, list) and len(value) < bound:
        yield _said(schema, f"must have at least {bound} {'entry' if bound == 1 else 'entries'}")


def _max_items(_: Any, bound: int, value: Json, schema: Schema) -> Errors:
    if isinstance(value, list) and len(value) > bound:
        yield _said(schema, f"must have at most {bound} entries, not {len(value)}")


def _min_properties(_: Any, bound: int, value: Json, schema: Schema) -> Errors:
    if isinstance(value, dict) and len(value) < bound:
        known = ", ".join(schema.get("properties", {}))
        yield _said(schema, f"must have at least {bound} of {known}")


def _quantity(validator: Any, _: str, value: Json, schema: Schema) -> Errors:
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(validator.is_type(value, name) for name in allowed):
        return
    try:
        parse(value)
    except ValueError as error:
        yield _wrong(schema, str(error), value)
    hint = _size_hint(value, schema)
    if hint:
        yield _wrong(schema, f"must be a size{hint}", value)


def _size_hint(value: str | int, schema: Schema) -> str:
    size = meant(value, schema["x-quantity"])
    return f" (did you mean {size}?)" if size else ""


def _is_integer(_: TypeChecker, value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


KEYWORDS = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "allOf": _all_of,
    "if": _if,
    "not": _negated,
    "propertyNames": _property_names,
    "enum": _enum,
    "const": _const,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _min_length,
    "maxLength": _max_length,
    "pattern": _pattern,
    "minItems": _min_items,
    "maxItems": _max_items,
    "minProperties": _min_properties,
    "x-quantity": _quantity,
    "x-known": _known,
}
"""Every keyword that a schema here may use; a test refuses the others."""

_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators=KEYWORDS,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
