"""`gitvirt get`: objects as the status branch has them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.cli.command import CommandError, Subparsers
from agent.cli.follow import follow
from agent.cli.objects import listed, named
from agent.cli.printing import Printer, Style, printer
from agent.cli.repositories import opened
from agent.cli.selector import Selector, selector
from agent.cli.snapshot import Reader, Snapshot
from agent.cli.sorting import in_order
from agent.cli.targets import Target, targets
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt get vm                                     the virtual machines of a namespace
  gitvirt get vm linux-vm -o wide                    one, with all columns
  gitvirt get vm,vd -A                               machines and disks of all namespaces
  gitvirt get vm/linux-vm vd/linux-vm-root -o yaml   two objects whole
  gitvirt get vm -l 'app=web,tier in (a,b)' -o name  by labels
  gitvirt get vm linux-vm.prod                       one of another namespace
  gitvirt get vm --sort-by .spec.memory.size -o custom-columns=VM:.metadata.name,ON:.status.nodeName
  gitvirt get vm linux-vm -o jsonpath='{.status.ipAddress}'
  gitvirt get vm -w                                  one line for each change

Kinds are named by singular, plural or short name (vm, virtualmachine, virtualmachines); `all` are
the kinds of virtualization that belong to a namespace.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "get",
        help="list objects and their state",
        description="List objects as the agent saw them last: reads the status branch only.",
        epilog=_EPILOG,
    )
    parser.add_argument("target", metavar="KIND [NAME…]", nargs="+", help="or KIND/NAME…, or `all`")
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="objects of all namespaces"
    )
    parser.add_argument(
        "-l", "--selector", metavar="LABELS", default="", help="only objects whose labels fit"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FORMAT",
        default="",
        help="wide, yaml, json, name, jsonpath=TEMPLATE, custom-columns=NAME:PATH,… or "
        "custom-columns-file=FILE (default: a table)",
    )
    parser.add_argument(
        "--sort-by",
        metavar="PATH",
        default="",
        help="in the order of a field, such as .status.phase",
    )
    parser.add_argument("--show-labels", action="store_true", help="tables with a column of labels")
    parser.add_argument("--no-headers", action="store_true", help="tables without their first line")
    parser.add_argument(
        "-w", "--watch", action="store_true", help="go on, and print what changes as it changes"
    )


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    targets: Sequence[Target]
    namespace: str
    everywhere: bool
    fits: Selector
    sort_by: str


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalogue = Catalogue.load()
    request = Request(
        targets=targets(catalogue, args.target),
        namespace=settings.namespace,
        everywhere=args.all_namespaces,
        fits=selector(args.selector),
        sort_by=args.sort_by,
    )
    if request.everywhere and any(target.names for target in request.targets):
        raise CommandError("an object is named within one namespace: give -n, or leave out -A")
    if args.watch and len(request.targets) > 1:
        raise CommandError("--watch takes one kind")
    if args.watch and args.sort_by:
        raise CommandError("--watch prints what changes as it changes: leave out --sort-by")
    style = _style(args, request)
    show = printer(style)
    with opened(settings) as repository:
        reader = Reader(repository, settings, catalogue)
        if args.watch:
            return _watch(reader, request, show, settings.timeout)
        snapshot = reader.now()
        snapshot.warn_of_silence(time.time())
        entries, missing = _selected(snapshot, request)
        if request.sort_by:
            entries = in_order(entries, request.sort_by)
        if entries or (not missing and style.quiet):
            show(entries)
        elif not missing:
            where = "" if _nowhere(request) else f" in {request.namespace} namespace"
            print(f"No resources found{where}.", file=sys.stderr)
        for key in missing:
            where = f" in namespace {key.namespace}" if key.namespace else ""
            print(f"error: there is no {key.kind} {key.name!r}{where}", file=sys.stderr)
        return 1 if missing else 0


def _style(args: argparse.Namespace, request: Request) -> Style:
    return Style(
        output=args.output,
        kinds=[target.kind for target in request.targets],
        single=len(request.targets) == 1 and len(request.targets[0].names) == 1,
        namespaces=request.everywhere,
        labels=args.show_labels,
        headers=not args.no_headers,
        watch=args.watch,
    )


def _nowhere(request: Request) -> bool:
    return request.everywhere or not any(target.kind.namespaced for target in request.targets)


def _selected(snapshot: Snapshot, request: Request) -> tuple[list[Entry], list[Key]]:
    """The objects that are asked for, and the named ones that are not there."""
    selected: list[Entry] = []
    missing: list[Key] = []
    for target in request.targets:
        if target.names:
            for name in target.names:
                entry = named(snapshot, target.kind, request.namespace, name)
                if entry is None:
                    namespace = request.namespace if target.kind.namespaced else ""
                    missing.append(Key(target.kind.name, namespace, name))
                elif request.fits(_labels(entry)):
                    selected.append(entry)
        else:
            within = None if request.everywhere else request.namespace
            entries = listed(snapshot, target.kind, within)
            selected.extend(entry for entry in entries if request.fits(_labels(entry)))
    return selected, missing


def _labels(entry: Entry) -> Mapping[str, str]:
    labels = entry.value["metadata"].get("labels")
    return labels if isinstance(labels, dict) else {}


# -- watching ---------------------------------------------------------------------------------


def _watch(reader: Reader, request: Request, show: Printer, timeout: float | None) -> int:
    seen: dict[str, Entry] = {}
    for turn, refs in enumerate(follow(reader.repository, timeout)):
        snapshot = reader.now(refs)
        entries, missing = _selected(snapshot, request)
        if turn == 0:
            snapshot.warn_of_silence(time.time())
            if missing:
                raise CommandError(f"there is no {missing[0].kind} {missing[0].name!r} to watch")
        current = {entry.path: entry for entry in entries}
        for batch in _changed(seen, current, at_once=turn == 0):
            show(batch)
        sys.stdout.flush()
        seen = current
    return 0


def _changed(
    before: Mapping[str, Entry], after: Mapping[str, Entry], *, at_once: bool
) -> Iterable[Sequence[Entry]]:
    """What is new or different, and what is gone as it was last."""
    if at_once:
        return [list(after.values())]
    fresh = [
        entry
        for path, entry in after.items()
        if path not in before or before[path].blob != entry.blob
    ]
    gone = [entry for path, entry in before.items() if path not in after]
    return [[entry] for entry in (*fresh, *gone)]
