"""`gitvirt plan`: what a merge would do."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.cli import hosts
from agent.cli.command import CommandError, Subparsers
from agent.cli.folders import manifests_folder
from agent.cli.machine import as_json
from agent.cli.repositories import address, commit_of, opened
from agent.core import planprint
from agent.core.host import Reading
from agent.core.model import Desired, Json
from agent.core.schema import Catalogue
from agent.core.tables import printable
from agent.gitrepo.repository import Repository
from agent.gitrepo.worktree import CommitSource, FolderSource
from agent.kinds.registry import CHECKS
from agent.reconcile.desired import ManifestReader, together
from agent.reconcile.plans.items import PlanReport, lines
from agent.reconcile.plans.merging import MergedSource, merge
from agent.reconcile.plans.open_branches import OpenBranches
from agent.reconcile.plans.planning import plan
from agent.reconcile.recall import recall
from agent.reconcile.status_branch import Ledger, StatusBranch
from agent.settings import Settings

CHANGES = 2
FORMATS = ("text", "markdown", "json")

_EPILOG = """\
examples:
  gitvirt plan                            the manifests of the clone one stands in
  gitvirt plan --revision my-branch       what a merge of that branch would do
  gitvirt plan --live                     against the hosts as they are now, with drift
  gitvirt plan -o markdown                for a pull request's comment

Exit code 0 if nothing would be done, 2 if something would (with --live also if something was
changed by hand), 1 if the manifests do not hold.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "plan",
        help="show what manifests would do",
        description=(
            "Show what manifests would do: by default against what the agent wrote "
            "down last, without any host."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        metavar="PATH",
        nargs="?",
        help="the folder that holds all manifests (default: that of the clone one stands in)",
    )
    parser.add_argument("--revision", metavar="REF", help="a branch, tag or commit instead")
    parser.add_argument(
        "--live", action="store_true", help="read the hosts instead of the status branch"
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="text", help="text, markdown or json"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.output not in FORMATS:
        raise CommandError(f"{args.output!r} is no output format: use {', '.join(FORMATS)}")
    if args.revision and args.folder:
        raise CommandError("give a PATH or a --revision, not both")
    catalogue = Catalogue.load()
    with opened(settings) as repository:
        refs = repository.fetch()
        reader = ManifestReader(catalogue, CHECKS)
        status = StatusBranch(repository, catalogue, settings.status_ref, settings.fleet)
        ledger = status.read(refs.get(settings.status_ref))
        desired = _desired(args, settings, reader, repository, refs, _below(settings, ledger))
        operations = refs.get(f"refs/heads/{settings.operations_branch}")
        if operations is not None:
            asked = reader.read(CommitSource(repository, operations))
            desired = together(catalogue, desired, asked)
        recall(ledger, repository, catalogue, reader)
        live = _read(settings) if args.live else None
        named = hosts.pools(settings).named if settings.pools else None
        networks = settings.networks or ({} if args.live else None)
        report = plan(
            *(catalogue, ledger, desired, settings.fleet, time.time(), live),
            pools=named,
            networks=networks,
        )
    _print(report, args.output)
    if report.problems:
        return 1
    return 0 if report.empty else CHANGES


def _desired(
    args: argparse.Namespace,
    settings: Settings,
    reader: ManifestReader,
    repository: Repository,
    refs: Mapping[str, str],
    below: str,
) -> Desired:
    """What is asked for; `below` is the folder in which manifests lie."""
    main = refs.get(f"refs/heads/{settings.branch}")
    if not args.revision:
        where = address(settings, Path.cwd())
        return _of_folder(manifests_folder(args.folder, below, repository, where, main), reader)
    commit = commit_of(repository, args.revision)
    source = CommitSource(repository, commit, below)
    if source.tree() is None:
        raise CommandError(
            f"{args.revision} has no folder {below!r}: name the one that holds the "
            "manifests with --path"
        )
    return reader.read(source) if main is None else _merged(args.revision, source, main, reader)


def _merged(revision: str, source: CommitSource, main: str, reader: ManifestReader) -> Desired:
    """What is asked for once a branch is merged into main."""
    branches = OpenBranches(source.repository, source.folder)
    commit = source.revision
    base = branches.base(commit, main)
    if base == commit != main:
        print(
            f"note: {revision} is a part of main already: this is what going back to it would do",
            file=sys.stderr,
        )
    if base in (commit, main):
        return reader.read(source)
    change = branches.change(revision, commit, main)
    if change.refusal:
        raise CommandError(f"{revision} cannot be merged by a plan: {change.refusal}")
    made = merge(change)
    desired = reader.read(
        MergedSource(CommitSource(source.repository, main, source.folder), made, commit)
    )
    return replace(desired, problems=(*made.problems, *desired.problems))


def _below(settings: Settings, ledger: Ledger) -> str:
    """The folder in which manifests lie: that of --path, else the agent's."""
    if settings.folder:
        return settings.folder
    told = str(ledger.agent.get("path", "."))
    return "" if told == "." else told


def _of_folder(folder: Path, reader: ManifestReader) -> Desired:
    """CommandError where the folder is surely not all that is desired: the plan would be to delete
    the rest.
    """
    desired = reader.read(FolderSource(folder))
    if not desired.manifests and not desired.problems:
        raise CommandError(
            f"{folder}: there is no manifest in it. Name the folder that holds the manifests; to "
            "plan the deletion of all, commit it and give --revision"
        )
    return desired


def _read(settings: Settings) -> list[Reading]:
    """What every host shows. HostError of one that cannot be read: its part would be missing."""
    opened_hosts = hosts.opened(settings)
    try:
        return [host.read(hosts.pools(settings).names) for host in opened_hosts.values()]
    finally:
        for host in opened_hosts.values():
            host.close()


def _print(report: PlanReport, output: str) -> None:
    problems = [printable(str(problem)) for problem in report.problems]
    if output == "json":
        print(as_json(_machine(report)))
    elif output == "markdown":
        print(planprint.markdown(lines(report), problems), end="")
    else:
        print(planprint.text(lines(report), problems), end="")


def _machine(report: PlanReport) -> dict[str, Json]:
    return {
        "revision": report.revision,
        "changes": [
            {
                "kind": item.key.kind,
                "namespace": item.key.namespace,
                "name": item.key.name,
                "operation": item.operation,
                "immediate": [change.listed() for change in item.immediate],
                "restart": [change.listed() for change in item.restart],
                "restartsByItself": item.automatic,
                "nextStart": [change.listed() for change in item.next_start],
                "drift": [edit.listed() for edit in item.drift.edits],
                "reported": list(item.drift.reported),
                "actions": item.actions,
                "reason": item.reason,
            }
            for item in report.items
        ],
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "resource": problem.resource,
                "path": problem.path,
                "message": problem.message,
            }
            for problem in report.problems
        ],
    }
