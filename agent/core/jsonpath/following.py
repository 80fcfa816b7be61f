"""From a value to what a template finds in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from agent.core.jsonpath.syntax import (
    Below,
    Every,
    Field,
    Filter,
    Items,
    Node,
    Operand,
    Path,
    Slice,
    Step,
)
from agent.core.model import Json


def rendered(nodes: Sequence[Node], value: Json, root: Json) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, Path):
            yield " ".join(shown(result) for result in results(node, value, root))
        else:
            for item in results(node.over, value, root):
                yield from rendered(node.body, item, root)


def results(path: Path, value: Json, root: Json) -> list[Json]:
    values = [root if path.rooted else value]
    for step in path.steps:
        values = [result for value in values for result in _step(step, value, root)]
    return values


def _step(step: Step, value: Json, root: Json) -> Iterator[Json]:
    match step:
        case Field(names):
            if isinstance(value, dict):
                yield from (value[name] for name in names if name in value)
        case Every():
            yield from _children(value)
        case Below():
            yield from _below(value)
        case _ if isinstance(value, list):
            yield from _of_list(step, value, root)


def _of_list(step: Step, value: list[Json], root: Json) -> Iterator[Json]:
    match step:
        case Items(indexes):
            size = len(value)
            yield from (value[index] for index in indexes if -size <= index < size)
        case Slice(at):
            yield from value[at]
        case Filter():
            yield from (item for item in value if _holds(step, item, root))


def _children(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _below(value: Json) -> Iterator[Json]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(list(_children(node))))


def _holds(step: Filter, item: Json, root: Json) -> bool:
    left = _values(step.left, item, root)
    if step.compare is None or not left:
        return bool(left)
    right = _values(step.right, item, root)
    try:
        return bool(right) and step.compare(left[0], right[0])
    except TypeError:
        return False


def _values(operand: Operand, item: Json, root: Json) -> list[Json]:
    return results(operand, item, root) if isinstance(operand, Path) else [operand]


def shown(value: Json) -> str:
    """A result as text: texts as they are, all else as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
