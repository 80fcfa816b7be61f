"""What is worth knowing of a fleet at a glance, and the README.md of the status branch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core import tables
from agent.core.model import Json, Problem
from agent.core.schema import Catalogue, Kind

MAX_ROWS = 100
MAX_TEXT = 300
CALM = frozenset(("", "Ready", "Running", "Stopped", "Completed", "Superseded"))
"""Phases in which nothing is wrong and nothing is under way."""
FIRST = (
    "VirtualMachine",
    "VirtualDisk",
    "VirtualImage",
    "ClusterVirtualImage",
    "VirtualMachineClass",
    "VirtualMachineOperation",
)
LEFT_OUT = frozenset(("Secret", "ModuleConfig"))
"""Kinds that have no state."""


@dataclass(frozen=True, order=True)
class Concern:
    """An object that is not as it should be, or not yet."""

    resource: str
    """`VirtualMachine default/linux-vm`."""
    phase: str
    messages: tuple[str, ...]
    """`Type: message` of the conditions that have something to say."""


def concerns(objects: Iterable[Mapping[str, Any]]) -> list[Concern]:
    """Objects that are in no calm phase, and those whose conditions have a message."""
    found = []
    for each in objects:
        status = _status(each)
        phase = str(status.get("phase", ""))
        messages = tuple(
            f"{condition.get('type', '')}: {condition['message']}"
            for condition in _conditions(status)
            if condition.get("message")
        )
        if messages or phase not in CALM:
            found.append(Concern(_resource(each), phase, messages))
    return sorted(found)


def phases(objects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many objects of each kind are in each phase; kinds and phases sorted."""
    counts: dict[str, Counter[str]] = {}
    for each in objects:
        kind = str(each.get("kind", ""))
        if kind not in LEFT_OUT:
            counts.setdefault(kind, Counter())[str(_status(each).get("phase", ""))] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def restarts(objects: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What waits for a restart: paths of changes by `namespace/name`."""
    found = {}
    for each in objects:
        waiting = _status(each).get("restartAwaitingChanges")
        if isinstance(waiting, list) and waiting:
            paths = [str(item.get("path", "")) for item in waiting if isinstance(item, Mapping)]
            found[_label(each)] = paths
    return dict(sorted(found.items()))


def readme(
    catalogue: Catalogue,
    objects: Sequence[Mapping[str, Any]],
    problems: Sequence[Problem],
    agent: Mapping[str, Any],
) -> str:
    """The fleet as Markdown: a line of summary, problems, and a table a kind. Equal input gives
    equal text, and nothing in it moves by itself.
    """
    ordered = sorted(objects, key=_label)
    troubled = concerns(ordered)
    parts = [
        f"# Fleet {markdown(str(agent.get('fleet', 'default')))}",
        _summary(ordered, problems, troubled, agent),
        *_node(agent),
        *_problems(problems),
        *_concerns(troubled),
        *(part for kind in _kinds(catalogue) for part in _kind(kind, ordered)),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(text: str, limit: int = MAX_TEXT) -> str:
    """Text from people as Markdown shows it: as it is, on one line, never as formatting, a link, a
    mention or HTML.
    """
    line = tables.printable(" ".join(text.split()))
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(_escaped(line, at) for at in range(len(line)))


def _escaped(line: str, at: int) -> str:
    sign = line[at]
    if sign in "&<>":
        return {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[sign]
    # these begin links and mentions also where a backslash stands before them
    if sign == "@" or (sign == ":" and line[at : at + 3] == "://"):
        return f"&#{ord(sign)};"
    if sign == "." and line[max(0, at - 3) : at].lower() == "www":
        return f"&#{ord(sign)};"
    if sign in "#!" or sign in "\\`*_[]|~$":
        return f"\\{sign}"
    return f"\\{sign}" if at == 0 and sign in "-+=" else sign


def _summary(
    objects: Sequence[Mapping[str, Any]],
    problems: Sequence[Problem],
    troubled: Sequence[Concern],
    agent: Mapping[str, Any],
) -> str:
    machines = [each for each in objects if each.get("kind") == "VirtualMachine"]
    running = sum(_status(each).get("phase") == "Running" for each in machines)
    counts = [
        f"{running} of {_count(len(machines), 'virtual machine')} running",
        f"{_count(len(problems), 'problem')} in manifests",
        f"{_count(len(troubled), 'object')} with something to say",
    ]
    waiting = restarts(objects)
    if waiting:
        counts.append(f"{len(waiting)} waiting for a restart")
    applied = _revision(agent, "applied")
    attempted = _revision(agent, "attempted")
    if applied:
        counts.append(f"`{applied}` applied")
    if attempted and attempted != applied:
        counts.append(f"`{attempted}` under way")
    return f"**{counts[0]}**, {', '.join(counts[1:])}."


def _revision(agent: Mapping[str, Any], name: str) -> str:
    part = agent.get(name)
    revision = part.get("revision") if isinstance(part, Mapping) else None
    return re.sub("[^0-9a-f]", "", str(revision or ""))[:12]


def _node(agent: Mapping[str, Any]) -> list[str]:
    node = agent.get("node")
    if not isinstance(node, Mapping) or node.get("ready", True):
        return []
    name, message = markdown(str(node.get("name", ""))), markdown(str(node.get("message", "")))
    return [f"**Node {name} is not ready.** {message}".rstrip()]


def _problems(problems: Sequence[Problem]) -> list[str]:
    if not problems:
        return []
    rows = [
        (
            f"{each.file}:{each.line}" if each.line else each.file,
            each.resource,
            each.path,
            each.message,
        )
        for each in sorted(problems)
    ]
    return [
        "## Manifests that do not hold",
        *_rows(("FILE", "RESOURCE", "FIELD", "PROBLEM"), rows, len(rows)),
    ]


def _concerns(troubled: Sequence[Concern]) -> list[str]:
    if not troubled:
        return []
    rows = [
        (
            each.resource,
            each.phase,
            "; ".join(each.messages[:3]) + ("; …" if each.messages[3:] else ""),
        )
        for each in troubled
    ]
    return ["## Objects with something to say", *_rows(("OBJECT", "PHASE", "WHAT"), rows, len(rows))]


def _kinds(catalogue: Catalogue) -> list[Kind]:
    names = [*FIRST, *sorted(catalogue.kinds.keys() - set(FIRST) - LEFT_OUT)]
    return [catalogue.kinds[name] for name in names if name in catalogue.kinds]


def _kind(kind: Kind, objects: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [each for each in objects if each.get("kind") == kind.name]
    if not found:
        return []
    wide = kind.name == "VirtualMachine"
    table = tables.table(kind, found[:MAX_ROWS], now=None, wide=wide, namespaces=True)
    rows = _rows(table.headers, table.rows, len(found))
    return [f"## {kind.name} ({len(found)})", *rows]


def _rows(headers: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> list[str]:
    """A table of the first rows, and how many there are beyond."""
    lines = [
        _line(headers),
        _line(["---"] * len(headers)),
        *(_line([markdown(cell) for cell in row]) for row in rows[:MAX_ROWS]),
    ]
    more = count - MAX_ROWS
    return ["\n".join(lines), *([f"… and {more} more."] if more > 0 else [])]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _label(value: Mapping[str, Any]) -> str:
    metadata = value["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def _resource(value: Mapping[str, Any]) -> str:
    return f"{value.get('kind', '')} {_label(value)}"


def _status(value: Mapping[str, Any]) -> Mapping[str, Any]:
    status = value.get("status")
    return status if isinstance(status, Mapping) else {}


def _conditions(status: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    conditions = status.get("conditions")
    items = conditions if isinstance(conditions, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]
