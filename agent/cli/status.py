"""`gitvirt status`: the fleet at a glance."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.cli.command import CommandError, Subparsers
from agent.cli.machine import as_json, as_yaml
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import human, nodes
from agent.core.model import Problem
from agent.core.overview import (
    Concern,
    Weight,
    concern,
    concerns,
    last_change,
    phases,
    restarts,
    status_of,
)
from agent.core.schema import Catalogue
from agent.core.status import seconds, timestamp
from agent.core.tables import printable
from agent.settings import Settings

_SHOWN = 20
_NAMED = 3
"""Objects that are named before one sentence."""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "status",
        help="the fleet at a glance",
        description="Show the agent, the revision it works on, what is wrong, how many objects are "
        "in which phase, and what waits for a restart.",
        epilog="examples:\n  gitvirt status\n  gitvirt status --exit-code -o json\n",
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="text", help="text (default), json or yaml"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 if something is not as it should be"
    )


@dataclass(frozen=True)
class Glance:
    """All that `status` says."""

    commit: str
    agent: Mapping[str, Any]
    seen: float | None
    silence: str
    errors: list[str]
    """What keeps the fleet's agent from its work, its node aside."""
    problems: list[Problem]
    phases: dict[str, dict[str, int]]
    restarts: dict[str, list[str]]
    concerns: list[Concern]
    last: tuple[str, str] = ("", "")
    """When something became something else for the last time (RFC 3339), and what."""

    @property
    def fine(self) -> bool:
        told = (self.silence, self.errors, self.problems)
        healthy = not any(told) and all(map(nodes.ready, nodes.told(self.agent)))
        calm = all(concern.weight is Weight.NOTE for concern in self.concerns)
        return healthy and calm and not self.restarts

    def said(self, weight: Weight) -> dict[str, list[str]]:
        """Who says what of that weight: each sentence once, with all that it is about."""
        resources: dict[str, list[str]] = {}
        for subject in self.concerns:
            for sentence in subject.said:
                if sentence.weight is weight:
                    resources.setdefault(sentence.message or f"{subject.phase}.", []).append(
                        subject.resource
                    )
        return resources


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.output not in ("text", "json", "yaml"):
        raise CommandError(f"{args.output!r} is no output format: use text, json or yaml")
    catalogue = Catalogue.load()
    now = time.time()
    with opened(settings) as repository:
        glance = look(Reader(repository, settings, catalogue).now(), now)
    if args.output == "json":
        print(as_json(_machine(glance)))
    elif args.output == "yaml":
        print(as_yaml(_machine(glance)), end="")
    else:
        print("\n".join(_lines(glance, now)))
    return 1 if args.exit_code and not glance.fine else 0


def look(snapshot: Snapshot, now: float) -> Glance:
    catalogue = snapshot.reader.catalogue
    objects = [entry.value for kind in catalogue.kinds.values() for entry in snapshot.entries(kind)]
    return Glance(
        commit=snapshot.commit,
        agent=snapshot.agent,
        seen=snapshot.last_seen(),
        silence=snapshot.silence(now),
        errors=list(_errors(snapshot)),
        problems=snapshot.problems(),
        phases=phases(catalogue, objects),
        restarts=restarts(objects),
        concerns=concerns(catalogue, objects),
        last=max((_change(catalogue, value) for value in objects), default=("", "")),
    )


def _errors(snapshot: Snapshot) -> Iterator[str]:
    settings = snapshot.reader.settings
    theirs = _text(snapshot.agent, "fleet", settings.fleet)
    if theirs != settings.fleet:
        yield (
            f"{settings.status_branch} is the status branch of fleet {theirs}, and fleet "
            f"{settings.fleet} is asked for, whose agent refuses it: name the right --fleet, or "
            "another --status-branch"
        )
    repository = _part(snapshot.agent, "repository")
    if not repository.get("ready", True):
        yield _text(repository, "message")


def _change(catalogue: Catalogue, value: Mapping[str, Any]) -> tuple[str, str]:
    known = concern(catalogue, value)
    return last_change(status_of(value)), f"{known.resource} {known.phase}".rstrip()


def _machine(glance: Glance) -> dict[str, Any]:
    return {
        "fine": glance.fine,
        "agent": dict(glance.agent),
        "agentLastSeen": None if glance.seen is None else timestamp(glance.seen),
        "statusCommit": glance.commit,
        "errors": glance.errors,
        "problems": [asdict(problem) for problem in glance.problems],
        "phases": glance.phases,
        "restartAwaiting": glance.restarts,
        "lastChange": {"time": glance.last[0], "what": glance.last[1]},
        "concerns": [
            {
                "resource": concern.resource,
                "phase": concern.phase,
                "weight": concern.weight.name.lower(),
                "messages": list(concern.messages),
            }
            for concern in glance.concerns
        ],
    }


def _lines(glance: Glance, now: float) -> Iterator[str]:
    agent = glance.agent
    yield f"Fleet:      {_text(agent, 'fleet', 'default')}"
    seen = "" if glance.seen is None else f"last seen {human.age(now - glance.seen)} ago"
    words = [f"gitvirt {_text(agent, 'version')}".strip(), seen]
    yield f"Agent:      {', '.join(word for word in words if word)}"
    if glance.silence:
        yield f"            warning: {glance.silence}"
    yield from (f"Error:      {error}" for error in glance.errors)
    yield from _nodes(nodes.told(agent))
    yield from _revisions(agent, now)
    if glance.last[0]:
        yield f"Changed:    {printable(glance.last[1])}, {_ago(glance.last[0], now)}"
    yield from _said("Somebody has to look at", glance.said(Weight.ACT))
    yield from _listed("Manifests that do not hold", list(map(str, glance.problems)))
    yield from _listed(
        "Waiting for a restart",
        [f"{name}: {', '.join(paths)}" for name, paths in glance.restarts.items()],
    )
    yield from _said("Under way", glance.said(Weight.UNDER_WAY))
    yield from _said("Good to know", glance.said(Weight.NOTE))
    yield from _phases(glance.phases)
    if glance.fine:
        yield "All is as it should be."


def _said(title: str, said: Mapping[str, list[str]]) -> Iterator[str]:
    names = {name for by in said.values() for name in by}
    lines = []
    for message, by in said.items():
        more = f" and {len(by) - _NAMED} more" if by[_NAMED:] else ""
        lines.append(f"{', '.join(by[:_NAMED])}{more}: {message}")
    yield from _listed(title, lines, human.count(len(names), "object"))


def _nodes(known: Sequence[nodes.Told]) -> Iterator[str]:
    """The one; of several how many are ready, and each that is not."""
    if len(known) == 1:
        yield f"Node:       {_node(known[0])}"
    elif known:
        away = [node for node in known if not nodes.ready(node)]
        counts = [f"{len(known) - len(away)} ready", *([f"{len(away)} not ready"] if away else [])]
        yield f"Nodes:      {', '.join(counts)}"
        yield from (f"            {_node(node)}" for node in away)


def _node(node: nodes.Told) -> str:
    state = "ready" if nodes.ready(node) else "not ready"
    message = _text(node, "message")
    return f"{_text(node, 'name')} {state}{': ' + message if message else ''}"


def _revisions(agent: Mapping[str, Any], now: float) -> Iterator[str]:
    attempted, applied = _part(agent, "attempted"), _part(agent, "applied")
    yield f"Applied:    {_revision(applied, now)}"
    if attempted.get("revision") != applied.get("revision"):
        yield f"Attempted:  {_revision(attempted, now)}"


def _revision(part: Mapping[str, Any], now: float) -> str:
    revision = _text(part, "revision")[:12]
    if not revision:
        return "none yet"
    ago = _ago(str(part.get("since")), now)
    return f"{revision}, {ago}" if ago else revision


def _ago(when: str, now: float) -> str:
    try:
        return f"{human.age(now - seconds(when))} ago"
    except ValueError:
        return ""


def _phases(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for kind, by_phase in counts.items():
        named = [f"{count} {printable(phase)}" for phase, count in by_phase.items() if phase]
        total = sum(by_phase.values())
        yield f"{printable(kind)}: {total}{' (' + ', '.join(named) + ')' if named else ''}"


def _listed(title: str, items: list[str], count: str = "") -> Iterator[str]:
    if items:
        yield f"{title} ({count or len(items)}):"
        yield from (f"  {printable(item)}" for item in items[:_SHOWN])
        if items[_SHOWN:]:
            yield f"  … and {len(items) - _SHOWN} more"


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _text(value: Mapping[str, Any], name: str, default: str = "") -> str:
    return printable(str(value.get(name) or default))
