"""`gitvirt start`, `stop`, `restart`, `evict`, `migrate`, `restore`, `clone`: asks the agent
through Git for an operation.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.cli import cloning, migrating
from agent.cli.command import CommandError, Subparsers, warn
from agent.cli.follow import follow
from agent.cli.objects import virtual_machine
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import human, ledger
from agent.core.annotations import NOT_AFTER, UNDO
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.core.tables import printable
from agent.gitrepo.clone import author_at
from agent.gitrepo.repository import Repository, StaleTip
from agent.settings import Settings

TIMEOUT = 300.0
ATTEMPTS = 8
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own for generated names: no vowels, nothing that looks like something else."""
_LONGEST_NAME = 253
_DOING = {
    "start": "starting",
    "stop": "stopping",
    "restart": "restarting",
    "evict": "being evicted",
    "migrate": "migrating",
    "restore": "restoring",
    "clone": "cloning",
}
_DONE = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "evict": "evicted",
    "migrate": "migrated",
    "restore": "restored",
    "clone": "cloned",
}
_WHAT = {
    "start": "start a virtual machine",
    "stop": "stop a virtual machine",
    "restart": "restart a virtual machine, which applies waiting changes",
    "evict": "have a running virtual machine leave its node",
    "migrate": "move a running virtual machine to another node",
    "restore": "give a virtual machine's disks earlier data again",
    "clone": "copy a virtual machine: manifests on a branch to merge",
}

_NEEDS = {
    "migrate": " --target-node pt-2",
    "restore": " --snapshot before-upgrade",
    "clone": " linux-vm-2",
}
"""What a verb has to be told beside its machine, in examples."""

_MOVES = ("evict", "migrate")

_BEGUN = {"clone": "has written the branch"}
"""What is waited for in any case, where that is not that the agent begins."""

_EPILOG = """\
examples:
  gitvirt {verb} linux-vm{needs}
  gitvirt {verb} linux-vm.prod{needs} --wait -t 2m

An operation that the agent has not taken up within --timeout (default 5m) is never carried out.
"""


def add(subparsers: Subparsers) -> None:
    for verb, what in _WHAT.items():
        parser = subparsers.add_parser(
            verb,
            help=what,
            description=f"{what.capitalize()}. Commits a VirtualMachineOperation to the branch of "
            f"operations and waits until the agent {_BEGUN.get(verb, 'has taken it up')}.",
            epilog=_EPILOG.format(verb=verb, needs=_NEEDS.get(verb, "")),
        )
        parser.add_argument("vm", metavar="VM", help="NAME, NAME.NAMESPACE or vm/NAME")
        if verb == "restore":
            _add_restore(parser)
        elif verb == "clone":
            cloning.add(parser)
        elif verb in _MOVES:
            migrating.add(parser)
        elif verb != "start":
            parser.add_argument(
                "-f",
                "--force",
                action="store_true",
                help="do not wait for the guest: cut the power",
            )
        parser.add_argument("-w", "--wait", action="store_true", help="wait until it is done")
        parser.add_argument(
            "-c", "--create-only", action="store_true", help="wait for nothing: only ask for it"
        )


def _add_restore(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--snapshot", metavar="NAME", help="the VirtualMachineSnapshot to go back to")
    what.add_argument(
        "--undo",
        metavar="OPERATION",
        help="the restore whose disks get back what they held before, as long as that lies in the "
        "trash",
    )
    parser.add_argument(
        "--mode",
        choices=("DryRun", "Strict", "BestEffort"),
        default="Strict",
        help="DryRun: only say what would be done; Strict: all or nothing (default); BestEffort: "
        "leave out what is missing",
    )


@dataclass(frozen=True)
class Request:
    verb: str
    vm: Key
    operation: Key
    dry: bool = False
    """True if it is only to be said what would be done."""

    def __str__(self) -> str:
        return f"{_quoted(self.vm)} {_DOING[self.verb]}. {_quoted(self.operation)}"


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.wait and args.create_only:
        raise CommandError("give --wait or --create-only, not both")
    timeout = settings.timeout or TIMEOUT
    catalogue = Catalogue.load()
    now = time.time()
    with opened(settings) as repository:
        reader = Reader(repository, settings, catalogue)
        snapshot = reader.now()
        found = virtual_machine(snapshot, args.vm, settings.namespace)
        silence = snapshot.silence(now)
        if silence:
            warn(silence)
        request = ask(snapshot, found, args, until=now + timeout)
        if args.create_only:
            print(f"{_quoted(request.operation)} created.")
            return 0
        return _await(reader, request, timeout, completed=args.wait)


def ask(snapshot: Snapshot, found: Entry, args: argparse.Namespace, *, until: float) -> Request:
    """Commit what a command's arguments ask of a machine. CommandError, RepositoryError."""
    reader = snapshot.reader
    vm = Key(found.kind.name, found.namespace, found.name)
    operation = Key(_kind(args), vm.namespace, name_for(vm.name))
    dry = getattr(args, "mode", "") == "DryRun"
    request = Request(args.command, vm, operation, dry)
    document = manifest(request, _spec(args, found), until=until, notes=_notes(args))
    _check(reader.catalogue, document)
    submit(reader.repository, reader.settings, request, document)
    return request


def _kind(args: argparse.Namespace) -> str:
    """What is asked for, by its kind."""
    of_snapshot = args.command == "clone" and args.snapshot is not None
    return "VirtualMachineSnapshotOperation" if of_snapshot else "VirtualMachineOperation"


def _spec(args: argparse.Namespace, vm: Entry) -> dict[str, Any]:
    """What an operation says."""
    if args.command == "clone":
        return cloning.spec(args, vm)
    if args.command in _MOVES:
        return migrating.spec(args, vm)
    spec = {"type": args.command.capitalize(), "virtualMachineName": vm.name}
    if args.command == "restore":
        # of an undo it is not looked at, but has to be there
        how = {"mode": args.mode, "virtualMachineSnapshotName": args.snapshot or args.undo}
        return {**spec, "restore": how}
    return {**spec, "force": True} if getattr(args, "force", False) else spec


def _notes(args: argparse.Namespace) -> dict[str, str]:
    """Its annotations."""
    undo: str | None = getattr(args, "undo", None)
    return {UNDO: undo} if undo else {}


def _check(catalogue: Catalogue, document: Mapping[str, Any]) -> None:
    """What would not be accepted is said at once."""
    found = catalogue.problems(catalogue.kinds[document["kind"]], document)
    if found:
        raise CommandError("; ".join(f"{path[-1]} {message}" for path, message in found))


def manifest(
    request: Request, spec: Mapping[str, Any], *, until: float, notes: Mapping[str, str] = {}
) -> dict[str, Any]:
    """What is committed. `until` is when it is too late to begin, in seconds since the epoch."""
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": request.operation.kind,
        "metadata": {
            "name": request.operation.name,
            "namespace": request.operation.namespace,
            "annotations": {NOT_AFTER: timestamp(until), **notes},
        },
        "spec": spec,
    }


def submit(
    repository: Repository, settings: Settings, request: Request, document: Mapping[str, Any]
) -> None:
    """Commit the operation beside whatever others commit at the same time."""
    path = f"namespaces/{request.operation.namespace}/{request.operation.name}.yaml"
    subject = f"{request.verb.capitalize()} {request.vm.namespace}/{request.vm.name}"
    ref, changes, author = (
        settings.operations_ref,
        {path: ledger.dump(document)},
        author_at(Path.cwd()),
    )
    for _ in range(ATTEMPTS):
        tip = repository.fetch().get(ref)
        try:
            repository.commit(ref, tip, changes, subject, author=author)
        except StaleTip:
            continue
        return
    raise CommandError(
        f"the branch {settings.operations_branch!r} moves too often to commit to it: try again"
    )


def _await(reader: Reader, request: Request, timeout: float, *, completed: bool) -> int:
    kind = reader.catalogue.kinds[request.operation.kind]
    told = False
    said: str | None = None
    snapshot: Snapshot | None = None
    status: Mapping[str, Any] = {}
    for refs in follow(reader.repository, timeout):
        snapshot = reader.now(refs)
        entry = snapshot.find(kind, request.operation.namespace, request.operation.name)
        status = {} if entry is None else entry.status
        match status.get("phase"):
            case "InProgress":
                if not told:
                    print(f"{request} in progress.", flush=True)
                told = True
                if said is None and (said := _begun(request, status)):
                    print(said, flush=True)
                if said is not None and not completed:
                    return 0
            case "Completed":
                if request.dry:
                    print("\n".join(_foreseen(status)))
                    return 0
                done = _DONE[request.verb]
                print(f"{_quoted(request.vm)} {done}. {_quoted(request.operation)} completed.")
                return 0
            case "Failed" | "Superseded" as phase:
                raise CommandError(f"{_quoted(request.operation)} {phase.lower()}{_why(status)}")
    if told:
        raise CommandError(
            f"{_quoted(request.operation)} is not completed after {human.age(timeout)} and goes "
            f"on{_why(status)}"
        )
    raise CommandError(_too_late(snapshot, request, timeout))


def _begun(request: Request, status: Mapping[str, Any]) -> str | None:
    """What is said of what is waited for in any case; None while that is not there."""
    if request.verb != "clone":
        return ""
    name = (status.get("branch") or {}).get("name")
    return f"Merge branch {printable(name)}, and it is made." if name else None


def _foreseen(status: Mapping[str, Any]) -> Iterator[str]:
    """What would become of each object."""
    for each in status.get("resources", ()):
        yield printable(f"{each['kind']} {each['name']}: {each['message']}")


def _why(status: Mapping[str, Any]) -> str:
    conditions = status.get("conditions")
    items = conditions if isinstance(conditions, list) else []
    for item in items:
        if isinstance(item, Mapping) and item.get("type") == "Completed":
            parts = (str(item.get(name) or "") for name in ("reason", "message"))
            return "".join(f": {printable(part)}" for part in parts if part)
    return ""


def _too_late(snapshot: Snapshot | None, request: Request, timeout: float) -> str:
    silence = "" if snapshot is None else snapshot.silence(time.time())
    reason = f": {silence}" if silence else ""
    return (
        f"{_quoted(request.operation)} was not taken up within {human.age(timeout)}, and will not "
        f"be any more{reason}"
    )


def _quoted(key: Key) -> str:
    return f'{key.kind} "{key.namespace}/{key.name}"'


def name_for(vm: str) -> str:
    token = "".join(secrets.choice(_ALPHABET) for _ in range(5))
    return f"{vm[: _LONGEST_NAME - 6].rstrip('-.')}-{token}"
