"""The fleet: what is wrong first, then what waits, what is under way, and what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.core.nodes import ready, told
from agent.core.overview import Weight, status_of
from agent.core.quantity import to_bytes
from agent.gitrepo.repository import CommitInfo
from agent.kinds.nodes import KIND as NODE
from agent.web.answers import View
from agent.web.pages import place
from agent.web.reading import Reading, Row
from agent.web.views.common import first, link, short_of, tone, word_of
from agent.web.views.log import commit_line

SHOWN = 20
"""Lines of each part; the rest is counted, and listed elsewhere."""
NAMED = 5
"""Objects that are named before one sentence."""
_NODE_PATH = ".status.nodeName"


def fleet(reading: Reading, recent: Sequence[CommitInfo]) -> View:
    waiting = reading.waiting
    problems = [each for each in reading.problems if each.file]
    held = [each for each in reading.problems if not each.file]
    trash = sorted(reading.trash, key=lambda each: each.deleted, reverse=True)
    data = {
        "fleet": str(reading.agent.get("fleet") or reading.fleet),
        "version": str(reading.agent.get("version") or ""),
        "commit": reading.commit,
        "missing": reading.missing,
        "errors": list(reading.errors),
        "attempted": _revision(reading.agent, "attempted"),
        "applied": _revision(reading.agent, "applied"),
        "act": _said(reading, Weight.ACT),
        "problems": [_problem(reading, each) for each in problems[:SHOWN]],
        "problems_count": len(problems),
        "held": [_problem(reading, each) for each in held[:SHOWN]],
        "held_count": len(held),
        "waiting": [_waiting(row) for row in waiting[:SHOWN]],
        "waiting_count": len(waiting),
        "requests": first(_requests(reading), SHOWN),
        "under_way": _said(reading, Weight.UNDER_WAY, requests=False),
        "notes": _said(reading, Weight.NOTE),
        "phases": _phases(reading),
        "nodes": _nodes(reading),
        "plans": [plan_line(ref) for ref in first(reading.plans, SHOWN)],
        "plans_count": len(reading.plans),
        "trash": [trashed_line(each) for each in trash[:SHOWN]],
        "trash_count": len(trash),
        "recent": [commit_line(commit) for commit in recent],
    }
    return View("fleet.html", "Fleet", data)


def _revision(agent: Mapping[str, Any], name: str) -> dict[str, str]:
    part = agent.get(name)
    known = part if isinstance(part, Mapping) else {}
    return {"revision": str(known.get("revision") or ""), "since": str(known.get("since") or "")}


def _said(reading: Reading, weight: Weight, *, requests: bool = True) -> dict[str, Any]:
    """The sentences of that weight that are about the most objects, and how many there are; those
    of `requests` only if they are not told elsewhere.
    """
    told = {
        message: kept
        for message, rows in reading.told.get(weight, {}).items()
        if (kept := [row for row in rows if requests or not row.kind.request])
    }
    names = {row.path for rows in told.values() for row in rows}
    lines = [
        {
            "message": message,
            "count": len(rows),
            "objects": [link(row) for row in rows[:NAMED]],
            "more": len(rows) - NAMED if len(rows) > NAMED else 0,
        }
        for message, rows in sorted(told.items(), key=lambda each: -len(each[1]))[:SHOWN]
    ]
    return {"lines": lines, "sentences": len(told), "objects": len(names)}


def _problem(reading: Reading, problem: Any) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "where": problem.where,
        "resource": problem.resource,
        "path": problem.path,
        "message": problem.message,
        "source": f"{_revision(reading.agent, 'attempted')['revision']}:{problem.file}",
    }


def _waiting(row: Row) -> dict[str, Any]:
    return {**link(row), "paths": list(row.waits), "since": row.waits_since}


def _requests(reading: Reading) -> Iterator[dict[str, Any]]:
    """Operations that have not ended: what they ask for is in their spec, whatever the kind."""
    for kind in reading.catalogue.in_order:
        for row in reading.rows(kind) if kind.request else ():
            if row.value:
                yield {
                    **link(row),
                    "what": " ".join(str(part) for part in _asked(row)),
                    "progress": percent(status_of(row.value).get("progress")),
                    "since": row.changed,
                    "says": row.said[0].message if row.said else "",
                }


def _asked(row: Row) -> Iterator[str]:
    columns = zip(row.kind.columns, row.cells, strict=True)
    yield from (cell for column, cell in columns if column.path.startswith(".spec."))


def percent(progress: Any) -> int | None:
    """Of `42%`, or `42.5%`; None of anything else."""
    digits = str(progress or "").removesuffix("%").partition(".")[0]
    return min(100, int(digits)) if digits.isascii() and digits.isdecimal() else None


def _phases(reading: Reading) -> list[dict[str, Any]]:
    """Of the kinds that have objects, those first that the fleet is there for."""
    return [
        {
            "kind": kind.name,
            "title": short_of(kind),
            "href": place(word_of(kind)),
            "total": len(reading.rows(kind)),
            "phases": [
                {
                    "phase": phase,
                    "count": count,
                    "tone": _tones(reading, kind.name).get(phase, "fine"),
                    "href": place(word_of(kind), phase=phase),
                }
                for phase, count in reading.phases.get(kind.name, {}).items()
                if phase
            ],
        }
        for kind in reading.catalogue.in_order
        if reading.rows(kind) or kind.machine
    ]


def _tones(reading: Reading, kind: str) -> dict[str, str]:
    """How most objects in each phase stand."""
    counts: dict[str, Counter[str]] = {}
    for row in reading.of_kind.get(kind, ()):
        counts.setdefault(row.phase, Counter())[tone(row)] += 1
    return {phase: by_tone.most_common(1)[0][0] for phase, by_tone in counts.items()}


def _nodes(reading: Reading) -> list[dict[str, Any]]:
    known = {str(each["name"]): each for each in told(reading.agent)}
    machines = _machines(reading)
    return [
        {
            **link(row),
            "ready": ready(known.get(row.name, {})),
            "machines": machines.get(row.name, Counter()).total(),
            "running": machines.get(row.name, Counter())["Running"],
            **memory(row.value),
            "says": row.said[0].message if row.said else "",
        }
        for row in reading.of_kind.get(NODE, ())
    ]


def _machines(reading: Reading) -> dict[str, Counter[str]]:
    """How many machines are in which phase on each node."""
    columns = [column.path for column in reading.catalogue.machine.columns]
    at = columns.index(_NODE_PATH)
    counts: dict[str, Counter[str]] = {}
    for row in reading.machines:
        counts.setdefault(row.cells[at], Counter())[row.phase] += 1
    return counts


def memory(node: Mapping[str, Any]) -> dict[str, int | None]:
    """Bytes that a node has, that machines may have of them, that are given away, and that are
    left; None where nobody knows.
    """
    status = status_of(node)
    names = ("capacity", "allocatable", "committed")
    has, may, taken = (_bytes(status.get(name)) for name in names)
    left = None if may is None or taken is None else max(0, may - taken)
    return {"memory": has, "allocatable": may, "committed": taken, "free": left}


def _bytes(part: Any) -> int | None:
    try:
        return to_bytes(str(part["memory"]))
    except (KeyError, TypeError, ValueError):
        return None


def plan_line(ref: str) -> dict[str, str]:
    """A branch by its name; another ref by all of its."""
    return {"ref": ref, "name": ref.removeprefix("refs/heads/"), "href": place("plans", ref)}


def trashed_line(each: Any) -> dict[str, Any]:
    """What was deleted, and what brings it back."""
    return {
        "kind": each.kind.name,
        "namespace": each.namespace,
        "name": each.name,
        "uid": each.uid,
        "deleted": each.deleted,
        "message": each.message,
        "source": each.source,
        "capacity": each.capacity,
    }
