"""`gitvirt get`: objects as the status branch has them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.cli.command import CommandError, Subparsers
from agent.cli.follow import news
from agent.cli.repositories import opened
from agent.cli.selector import Selector, selector
from agent.cli.snapshot import Entry, Reader, Snapshot
from agent.cli.targets import Target, targets
from agent.core import jsonpath, ledger, tables
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
        help="wide, yaml, json, name or jsonpath=TEMPLATE (default: a table)",
    )
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
    output: str
    headers: bool = True
    watch: bool = False


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalogue = Catalogue.load()
    request = Request(
        targets=targets(catalogue, args.target),
        namespace=settings.namespace,
        everywhere=args.all_namespaces,
        fits=selector(args.selector),
        output=args.output,
        headers=not args.no_headers,
        watch=args.watch,
    )
    if request.everywhere and any(each.names for each in request.targets):
        raise CommandError("an object is named within one namespace: give -n, or leave out -A")
    if args.watch and len(request.targets) > 1:
        raise CommandError("--watch takes one kind")
    printer = _printer(request)
    with opened(settings) as repository:
        reader = Reader(repository, settings, catalogue)
        if args.watch:
            return _watch(reader, request, printer, settings.timeout)
        snapshot = reader.now()
        snapshot.warn_of_silence(time.time())
        found, missing = _selected(snapshot, request)
        if found or (not missing and _always(request.output)):
            printer(found)
        elif not missing:
            where = "" if _nowhere(request) else f" in {request.namespace} namespace"
            print(f"No resources found{where}.", file=sys.stderr)
        for key in missing:
            where = f" in namespace {key.namespace}" if key.namespace else ""
            print(f"error: there is no {key.kind} {key.name!r}{where}", file=sys.stderr)
        return 1 if missing else 0


def _always(output: str) -> bool:
    """True for formats that machines read, which are printed of nothing, too."""
    return output not in ("", "wide", "name")


def _nowhere(request: Request) -> bool:
    return request.everywhere or not any(each.kind.namespaced for each in request.targets)


def _selected(snapshot: Snapshot, request: Request) -> tuple[list[Entry], list[Key]]:
    """The objects that are asked for, and the named ones that are not there."""
    found: list[Entry] = []
    missing: list[Key] = []
    for target in request.targets:
        if target.names:
            for name in target.names:
                entry = snapshot.find(target.kind, request.namespace, name)
                if entry is None:
                    namespace = request.namespace if target.kind.namespaced else ""
                    missing.append(Key(target.kind.name, namespace, name))
                elif request.fits(_labels(entry)):
                    found.append(entry)
        else:
            within = None if request.everywhere else request.namespace
            entries = snapshot.entries(target.kind, within)
            found.extend(entry for entry in entries if request.fits(_labels(entry)))
    return found, missing


def _labels(entry: Entry) -> Mapping[str, str]:
    labels = entry.value["metadata"].get("labels")
    return labels if isinstance(labels, dict) else {}


# -- printing ---------------------------------------------------------------------------------

Printer = Callable[[Sequence[Entry]], None]


def _printer(request: Request) -> Printer:
    output, equals, argument = request.output.partition("=")
    if output == "jsonpath" and equals:
        return _jsonpath_printer(request, argument)
    simple: dict[str, Callable[[Request], Printer]] = {
        "": _TablePrinter,
        "wide": _TablePrinter,
        "name": lambda _: _print_names,
        "json": lambda asked: (
            lambda entries: print(
                *(
                    json.dumps(value, indent=4, ensure_ascii=False) + "\n"
                    for value in _values(asked, entries)
                ),
                sep="",
                end="",
            )
        ),
        "yaml": _YamlPrinter,
    }
    if request.output not in simple:
        raise CommandError(
            f"{request.output!r} is no output format: use wide, yaml, json, name or "
            "jsonpath='{.status.phase}'"
        )
    return simple[request.output](request)


def _jsonpath_printer(request: Request, text: str) -> Printer:
    try:
        template = jsonpath.template(text)
    except jsonpath.JSONPathError as error:
        raise CommandError(f"the JSONPath cannot be read: {error}") from error

    def show(entries: Sequence[Entry]) -> None:
        for value in _values(request, entries):
            print(template.render(value), end="")

    return show


def _values(request: Request, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What machines read: each object by itself while watching, else all as one."""
    if request.watch:
        return [_as_written(entry) for entry in entries]
    return [_together(request, entries)]


def _together(request: Request, entries: Sequence[Entry]) -> dict[str, Any]:
    """One object where one was named, else a list."""
    values = [_as_written(entry) for entry in entries]
    single = len(request.targets) == 1 and len(request.targets[0].names) == 1
    if single and len(values) == 1:
        return values[0]
    return {"apiVersion": "v1", "items": values, "kind": "List", "metadata": {}}


def _as_written(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry.value.items() if name != "status" or value}


def _print_names(entries: Sequence[Entry]) -> None:
    for entry in entries:
        print(f"{tables.resource(entry.kind)}/{tables.printable(entry.name)}")


@dataclass
class _YamlPrinter:
    """Prints one stream of documents, however often it is called."""

    request: Request
    begun: bool = False

    def __call__(self, entries: Sequence[Entry]) -> None:
        for value in _values(self.request, entries):
            if self.begun:
                print("---")
            self.begun = True
            print(ledger.dump(value).decode(), end="")


@dataclass
class _TablePrinter:
    """Prints a table a kind. Called again it goes on without headers, in the columns of before."""

    request: Request
    widths: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __call__(self, entries: Sequence[Entry]) -> None:
        blocks = []
        now = time.time()
        for target in self.request.targets:
            kind = target.kind
            values = [entry.value for entry in entries if entry.kind is kind]
            if not values:
                continue
            table = tables.table(
                kind,
                values,
                now=now,
                wide=self.request.output == "wide",
                namespaces=self.request.everywhere,
                typed=len(self.request.targets) > 1,
            )
            widths = self.widths.get(kind.name, ())
            header = self.request.headers and not widths
            blocks.append(tables.text(table, header=header, widths=widths))
            self.widths[kind.name] = tables.fitting(table, widths)
        print("\n".join(blocks), end="")


# -- watching ---------------------------------------------------------------------------------


def _watch(reader: Reader, request: Request, printer: Printer, timeout: float | None) -> int:
    seen: dict[str, Entry] = {}
    for turn, refs in enumerate(news(reader.repository, timeout)):
        snapshot = reader.now(refs)
        found, missing = _selected(snapshot, request)
        if turn == 0:
            snapshot.warn_of_silence(time.time())
            if missing:
                raise CommandError(f"there is no {missing[0].kind} {missing[0].name!r} to watch")
        current = {entry.path: entry for entry in found}
        for batch in _changed(seen, current, at_once=turn == 0):
            printer(batch)
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
