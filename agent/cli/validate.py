"""`gitvirt validate`: all problems of manifests, before anybody applies them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from agent.cli.command import CommandError, Subparsers
from agent.cli.machine import as_json
from agent.cli.repositories import commit_of, opened
from agent.core import human
from agent.core.model import Desired, Problem
from agent.core.schema import Catalogue
from agent.core.tables import printable
from agent.gitrepo.worktree import CommitSource, FolderSource
from agent.kinds.registry import CHECKS
from agent.reconcile.desired import ManifestReader
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt validate                         the folder one stands in
  gitvirt validate clusters/home           another folder, or one file
  gitvirt validate --revision my-branch    a branch, tag or commit of the repository
  gitvirt validate -o json                 for a pipeline

Exit code 1 if there is a problem. Notes name fields that are accepted and have no effect here, and
documents that are not applied.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "validate",
        help="check manifests",
        description="Show all problems of the manifests in a folder or of a revision. No host is "
        "needed, and for a folder no repository.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder", metavar="PATH", nargs="?", help="a folder or file (default: --path below here)"
    )
    parser.add_argument("--revision", metavar="REF", help="a branch, tag or commit instead")
    parser.add_argument("-o", "--output", metavar="FORMAT", default="text", help="text or json")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.output not in ("text", "json"):
        raise CommandError(f"{args.output!r} is no output format: use text or json")
    if args.revision and args.folder:
        raise CommandError("give a PATH or a --revision, not both")
    reader = ManifestReader(Catalogue.load(), CHECKS)
    if args.revision:
        desired = _of_revision(reader, args.revision, settings)
    else:
        folder = Path(args.folder or settings.path)
        if not folder.exists():
            raise CommandError(f"{folder}: there is no such file or folder")
        desired = reader.read(FolderSource(folder))
    if args.output == "json":
        print(as_json(_machine(desired)))
    else:
        _print(desired)
    return 1 if desired.problems else 0


def _of_revision(reader: ManifestReader, revision: str, settings: Settings) -> Desired:
    with opened(settings) as repository:
        repository.fetch()
        commit = commit_of(repository, revision)
        return reader.read(CommitSource(repository, commit, settings.folder))


def _machine(desired: Desired) -> dict[str, object]:
    return {
        "problems": [asdict(problem) for problem in desired.problems],
        "ignored": [asdict(note) for note in desired.ignored],
        "notes": [asdict(note) for note in _notes(desired)],
    }


def _notes(desired: Desired) -> Iterator[Problem]:
    """Fields that are accepted and have no effect here."""
    for key, manifest in sorted(desired.manifests.items()):
        for note in manifest.notes:
            path, _, sentence = note.partition(" ")
            yield Problem(desired.paths[key], manifest.line, str(key), path, sentence)


def _print(desired: Desired) -> None:
    for problem in desired.problems:
        print(printable(str(problem)))
    for ignored in desired.ignored:
        print(f"note: {printable(str(ignored))}")
    for note in _notes(desired):
        print(f"note: {printable(str(note))}")
    good = human.count(len(desired.manifests), "manifest")
    if desired.problems:
        bad = human.count(len(desired.problems), "problem")
        print(f"{bad}; {good} without problems", file=sys.stderr)
    elif desired.manifests:
        print(f"{good}, no problems")
    else:
        print("no manifest found", file=sys.stderr)
