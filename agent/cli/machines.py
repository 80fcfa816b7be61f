"""The virtual machine that a command wants to reach, as the status branch tells of it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.cli.command import CommandError
from agent.cli.objects import virtual_machine
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import status
from agent.core.entries import Entry
from agent.core.identity import domain_uuid
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.core.tables import printable
from agent.settings import Settings

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_OFF = "Stopped"


@dataclass(frozen=True)
class Machine:
    """What the status branch says of a virtual machine that one wants to reach."""

    key: Key
    uid: str
    uuid: str
    """The domain's."""
    phase: str
    node: str
    """Empty if it has none."""
    address: str
    since: float
    """When it began to run, in seconds since the epoch; 0 if that is not known."""
    deleted: bool

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def host(self) -> str:
        """The name by which ssh knows it."""
        return f"{self.key.name}.{self.key.namespace}"

    @property
    def word(self) -> str:
        """How a command names it from anywhere."""
        return self.name if self.key.namespace == "default" else self.host

    @property
    def age(self) -> float:
        """Seconds that it has been running; very many if that is not known."""
        return time.time() - self.since


def machine(snapshot: Snapshot, word: str, settings: Settings) -> Machine:
    """CommandError if there is none, or if what is there has no name of a machine: those go into
    the arguments of programs.
    """
    return _machine(snapshot, virtual_machine(snapshot, word, settings.namespace), settings)


def _machine(snapshot: Snapshot, found: Entry, settings: Settings) -> Machine:
    key = Key(found.kind.name, found.namespace, found.name)
    if not (_NAME.fullmatch(key.name) and _NAME.fullmatch(key.namespace)):
        raise CommandError(f"{printable(found.label)!r} is no name of a virtual machine")
    state = found.status
    fleet = str(snapshot.agent.get("fleet") or settings.fleet)
    return Machine(
        key=key,
        uid=str(found.value["metadata"].get("uid") or ""),
        uuid=domain_uuid(fleet, key),
        phase=str(state.get("phase") or ""),
        node=str(state.get("nodeName") or ""),
        address=str(state.get("ipAddress") or ""),
        since=_running_since(found),
        deleted="deletionTimestamp" in found.value["metadata"],
    )


def found(settings: Settings, word: str) -> Machine:
    """The machine that is meant, by the tip of the status branch."""
    with opened(settings) as repository:
        return machine(Reader(repository, settings, Catalogue.load()).now(), word, settings)


def exactly(settings: Settings, key: Key) -> Machine:
    """The machine of that very key, by the tip of the status branch. CommandError if there is
    none.
    """
    with opened(settings) as repository:
        snapshot = Reader(repository, settings, Catalogue.load()).now()
        return _machine(snapshot, entry(snapshot, key), settings)


def entry(snapshot: Snapshot, key: Key) -> Entry:
    """The machine of that very key. CommandError if there is none."""
    found = snapshot.find(snapshot.reader.catalogue.machine, key.namespace, key.name)
    if found is None:
        name = printable(f"{key.namespace}/{key.name}")
        raise CommandError(f"there is no VirtualMachine {name}; `gitvirt get vm -A` lists them")
    return found


def listed(settings: Settings, words: Sequence[str]) -> list[Machine]:
    """Those named, or all of the namespace."""
    with opened(settings) as repository:
        snapshot = Reader(repository, settings, Catalogue.load()).now()
        kind = snapshot.reader.catalogue.machine
        names = words or [each.name for each in snapshot.entries(kind, settings.namespace)]
        return [machine(snapshot, name, settings) for name in names]


def refuse_hopeless(one: Machine) -> None:
    """CommandError for a machine that comes not up by itself, or is on its way out."""
    if one.deleted or one.phase == "Terminating":
        raise CommandError(f"{one.name} is being deleted")
    if one.phase == _OFF:
        raise CommandError(f"{one.name} is off: `gitvirt start {one.word}` starts it")


def _running_since(found: Entry) -> float:
    conditions = found.status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if (
            isinstance(each, dict)
            and each.get("type") == "Running"
            and each.get("status") == "True"
        ):
            with contextlib.suppress(TypeError, ValueError):
                return float(status.seconds(str(each.get("lastTransitionTime"))))
    return 0.0
