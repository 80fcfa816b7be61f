"""YAML from strangers, one libyaml event after the other. The only user of its parser.

Plain scalars are read as kubectl reads them: `yes`, `no`, `on` and `off` are booleans beside `true`
and `false`, decimal numbers are numbers. What only YAML 1.1 takes for something else (dates, octal,
hexadecimal and base-60 numbers) stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from agent.core.documents import MERGE, Budget, Builder, Document, RefusedError

_BOOLEANS = {
    form: value
    for words, value in ((("true", "yes", "on"), True), (("false", "no", "off"), False))
    for word in words
    for form in (word, word.title(), word.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


def read(text: str) -> Iterator[Document]:
    """Every document but empty ones. Raises RefusedError at the first that cannot be read."""
    budget = Budget()
    events = _events(text)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            budget.begin(_line(event))
            document = _document(events, Builder(budget))
            if document.value is not None or document.problems:
                yield document


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.CLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RefusedError(mark.line + 1 if mark else 0, _syntax(text, error)) from error
    except yaml.YAMLError as error:
        raise RefusedError(0, "is not valid YAML") from error


def _syntax(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    if mark is not None:
        lines = text.splitlines()
        indent = re.match(r"\s*", lines[mark.line]) if mark.line < len(lines) else None
        if indent and "\t" in indent[0]:
            return "is not valid YAML: tabs cannot indent, use spaces"
    context = f" {error.context}" if error.context else ""
    return f"is not valid YAML: {error.problem}{context}"


def _document(events: Iterator[Any], builder: Builder) -> Document:
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            _refuse_tag(event, builder)
            builder.scalar(_value(event, builder), len(event.value), _line(event), event.anchor)
        elif kind is yaml.MappingStartEvent:
            _refuse_tag(event, builder)
            builder.open({}, _line(event), event.anchor)
        elif kind is yaml.SequenceStartEvent:
            _refuse_tag(event, builder)
            builder.open([], _line(event), event.anchor)
        elif kind is yaml.AliasEvent:
            builder.alias(event.anchor, _line(event))
        elif kind is yaml.DocumentEndEvent:
            break
        else:
            builder.close()
    return builder.document()


def _refuse_tag(event: Any, builder: Builder) -> None:
    if event.tag is not None:
        builder.problem("must not have a tag (`!`): write the plain value")


def _value(event: Any, builder: Builder) -> Any:
    """The scalar as it is read: its text, or what plain text stands for."""
    text: str = event.value
    return text if event.tag is not None or not event.implicit[0] else plain(text, builder)


def plain(text: str, builder: Builder) -> Any:
    """What text without quotes stands for; MERGE only where a key is expected."""
    if text in _NULLS:
        return None
    if text[0] in "tTfFyYnNoO":
        return _BOOLEANS.get(text, text)
    if text[0] in "0123456789+-.":
        return builder.number(text)
    if text == "<<" and builder.at_key():
        return MERGE
    return text


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
