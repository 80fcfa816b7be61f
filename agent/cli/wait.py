"""`gitvirt wait`: until an object, or the fleet, is where one wants it."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.cli.command import CommandError, Subparsers
from agent.cli.follow import follow
from agent.cli.objects import named
from agent.cli.repositories import commit_of, opened
from agent.cli.snapshot import Reader, Snapshot
from agent.cli.targets import target
from agent.core import human, jsonpath, tables
from agent.core.entries import Entry
from agent.core.model import Problem
from agent.core.schema import Catalogue
from agent.gitrepo.history import contains
from agent.settings import Settings

TIMEOUT = 300.0
_SHOWN = 5
_JSONPATH = re.compile(r"jsonpath=(\{.*\}|'\{.*\}')(?:=(.*))?")
_EPILOG = """\
examples:
  gitvirt wait vm/linux-vm --for=phase=Running
  gitvirt wait vm/linux-vm --for=condition=AgentReady --timeout 2m
  gitvirt wait vm/linux-vm --for=delete
  gitvirt wait vm/linux-vm --for=jsonpath='{.status.ipAddress}'
  gitvirt wait --revision HEAD      until the commit that is checked out here is applied

The default timeout is 5m. Exit code 1 when it ends first, when a revision is not on the branch
that the agent applies, and when it is applied without manifests that do not hold.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "wait",
        help="wait for a state",
        description="Wait until an object is in a state, or a revision is applied.",
        epilog=_EPILOG,
    )
    parser.add_argument("target", metavar="KIND/NAME", nargs="*", help="one object")
    parser.add_argument(
        "--for",
        dest="wanted",
        metavar="WHAT",
        help="phase=NAME, condition=TYPE[=STATUS], jsonpath={PATH}[=VALUE] or delete",
    )
    parser.add_argument(
        "--revision",
        metavar="SHA",
        help="a commit or branch of the repository; HEAD is that of the clone one stands in",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if bool(args.target) == bool(args.revision) or bool(args.target) != bool(args.wanted):
        raise CommandError("give KIND/NAME with --for, or --revision")
    catalogue = Catalogue.load()
    timeout = settings.timeout or TIMEOUT
    with opened(settings) as repository:
        reader = Reader(repository, settings, catalogue)
        if args.revision:
            return _revision(reader, args.revision, timeout)
        kind, name = target(catalogue, args.target)
        holds = condition(args.wanted)
        said = f"{tables.resource(kind)}/{name}"
        snapshot: Snapshot | None = None
        entry: Entry | None = None
        for refs in follow(repository, timeout):
            if settings.status_ref not in refs:
                continue  # the agent may be about to write for the first time
            snapshot = reader.now(refs)
            entry = named(snapshot, kind, settings.namespace, name)
            if holds(None if entry is None else entry.value):
                print(f"{said} {'deleted' if entry is None else 'condition met'}")
                return 0
        now = "is not there" if entry is None else f"is in phase {entry.status.get('phase', '?')}"
        raise CommandError(
            f"timed out after {human.age(timeout)} waiting for {args.wanted}: "
            f"{said} {tables.printable(now)}{_silence(snapshot)}"
        )


Condition = Callable[[Mapping[str, Any] | None], bool]


def condition(text: str) -> Condition:
    """What --for asks of an object, None where it is not there. CommandError if it says nothing
    that one can wait for.
    """
    what, _, rest = text.partition("=")
    if text == "delete":
        return lambda value: value is None
    if what == "phase" and rest:
        return lambda value: _phase(value).lower() == rest.lower()
    if what == "condition" and rest:
        name, _, wanted = rest.partition("=")
        return lambda value: _condition_status(value, name).lower() == (wanted or "True").lower()
    match = _JSONPATH.fullmatch(text)
    if match:
        return _jsonpath(match[1].strip("'"), match[2])
    raise CommandError(
        f"{text!r} is nothing to wait for: use phase=Running, condition=AgentReady, "
        "jsonpath={.status.ipAddress} or delete"
    )


def _phase(value: Mapping[str, Any] | None) -> str:
    return "" if value is None else str(value["status"].get("phase") or "")


def _condition_status(value: Mapping[str, Any] | None, name: str) -> str:
    conditions = None if value is None else value["status"].get("conditions")
    items = conditions if isinstance(conditions, list) else []
    for item in items:
        if isinstance(item, Mapping) and str(item.get("type", "")).lower() == name.lower():
            return str(item.get("status", ""))
    return ""


def _jsonpath(path: str, wanted: str | None) -> Condition:
    try:
        template = jsonpath.template(path)
    except jsonpath.JSONPathError as error:
        raise CommandError(f"the JSONPath cannot be read: {error}") from error

    def holds(value: Mapping[str, Any] | None) -> bool:
        shown = "" if value is None else template.render(value)
        return bool(shown) if wanted is None else shown == wanted

    return holds


def _revision(reader: Reader, revision: str, timeout: float) -> int:
    progress: _Progress | None = None
    snapshot: Snapshot | None = None
    for refs in follow(reader.repository, timeout):
        progress = progress or _Progress(reader, commit_of(reader.repository, revision))
        if reader.settings.status_ref in refs:
            snapshot = reader.now(refs)
            if progress.applied(snapshot):
                print(f"{progress.wanted[:12]} applied", flush=True)
                _held(snapshot.problems())
                return _rejected(snapshot.problems())
        progress.check(refs)
    bad = 0 if snapshot is None else _count(_of_manifests(snapshot.problems()))
    hint = f"; {_do_not_hold(bad)}, see `gitvirt status`" if bad else ""
    waited = f"timed out after {human.age(timeout)} waiting for"
    raise CommandError(f"{waited} {progress or revision}{hint}{_silence(snapshot)}")


class _Progress:
    """How far the agent is on the way to a commit."""

    def __init__(self, reader: Reader, wanted: str) -> None:
        self._reader = reader
        self.wanted = wanted
        self._applied = self._branch = ""
        """The tips that were looked at last: neither contains the commit for the agent."""

    def __str__(self) -> str:
        so_far = f"the agent has applied {self._applied[:12]}" if self._applied else ""
        return f"{self.wanted[:12]} to be applied: {so_far or 'nothing is applied'}"

    def applied(self, snapshot: Snapshot) -> bool:
        """True if the agent has applied the commit, or one made on top of it."""
        part = snapshot.agent.get("applied")
        revision = str(part.get("revision") or "") if isinstance(part, Mapping) else ""
        if not revision or revision == self._applied:
            return False
        self._applied = revision
        return contains(self._reader.repository, revision, self.wanted)

    def check(self, refs: Mapping[str, str]) -> None:
        """CommandError where one would wait for ever: the branch does not hold the commit."""
        branch = self._reader.settings.branch
        tip = refs.get(f"refs/heads/{branch}", "")
        if tip and tip == self._branch:
            return
        self._branch = tip
        if not tip or not contains(self._reader.repository, tip, self.wanted):
            raise CommandError(
                f"{self.wanted[:12]} is not on branch {branch!r}, which is what the agent applies: "
                "merge it and push, or name the right one with --branch"
            )


def _held(problems: Sequence[Problem]) -> None:
    """Say what is kept although the commit has no manifest of it any more."""
    held = [problem for problem in problems if not problem.file]
    for problem in held[:_SHOWN]:
        print(f"note: {tables.printable(str(problem))}", file=sys.stderr)
    if held[_SHOWN:]:
        more = len(held) - _SHOWN
        print(f"note: … and {more} more, see `gitvirt status`", file=sys.stderr)


def _rejected(problems: Sequence[Problem]) -> int:
    """Say which manifests were not applied; the exit code."""
    wrong = _of_manifests(problems)
    if not wrong:
        return 0
    print(f"error: {_do_not_hold(_count(wrong))}:", file=sys.stderr)
    for problem in wrong[:_SHOWN]:
        print(f"  {tables.printable(str(problem))}", file=sys.stderr)
    if wrong[_SHOWN:]:
        more = len(wrong) - _SHOWN
        print(f"  … and {more} more, see `gitvirt status`", file=sys.stderr)
    return 1


def _of_manifests(problems: Sequence[Problem]) -> list[Problem]:
    """Without those that have no file: they tell of objects that are kept."""
    return [problem for problem in problems if problem.file]


def _count(problems: Sequence[Problem]) -> int:
    """How many manifests have them: one may have several."""
    return len({(problem.file, problem.resource) for problem in problems})


def _do_not_hold(count: int) -> str:
    return "1 manifest does not hold" if count == 1 else f"{count} manifests do not hold"


def _silence(snapshot: Snapshot | None) -> str:
    silence = "" if snapshot is None else snapshot.silence(time.time())
    return f"; {silence}" if silence else ""
