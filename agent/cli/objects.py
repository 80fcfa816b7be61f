"""The objects that commands list, and those that people name."""

from __future__ import annotations

from collections.abc import Iterable

from agent.cli import nodes
from agent.cli.command import CommandError
from agent.cli.snapshot import Snapshot
from agent.core.entries import Entry
from agent.core.schema import Kind


def listed(snapshot: Snapshot, kind: Kind, namespace: str | None) -> Iterable[Entry]:
    """All of a kind, in one namespace or in all."""
    if kind.name == nodes.KIND:
        return nodes.nodes(snapshot)
    return snapshot.entries(kind, namespace)


def named(snapshot: Snapshot, kind: Kind, namespace: str, word: str) -> Entry | None:
    """What a person means by `name`, or by `name.namespace`, of what belongs to one."""
    if kind.name == nodes.KIND:
        return next((node for node in nodes.nodes(snapshot) if node.name == word), None)
    for space, name in meanings(kind, namespace, word):
        entry = snapshot.find(kind, space, name)
        if entry is not None:
            return entry
    return None


def meanings(kind: Kind, namespace: str, word: str) -> list[tuple[str, str]]:
    """Namespace and name that a word may mean: a name with a dot may be a whole name, or end with
    its namespace.
    """
    name, dot, last = word.rpartition(".")
    ending = [(last, name)] if kind.namespaced and dot and name and last else []
    return [(namespace, word), *ending]


def virtual_machine(snapshot: Snapshot, word: str, namespace: str) -> Entry:
    """NAME, NAME.NAMESPACE or vm/NAME; CommandError if the status branch knows none such."""
    what, slash, name = word.rpartition("/")
    kind = snapshot.reader.catalogue.machine
    words = (kind.singular, kind.plural, *kind.short_names)
    if slash and what.lower().partition(".")[0] not in words:
        raise CommandError(f"{word!r} is no virtual machine: write NAME or vm/NAME")
    found = named(snapshot, kind, namespace, name)
    if found is not None:
        return found
    tried = meanings(kind, namespace, name)
    where = " or ".join(f"{candidate!r} in namespace {space}" for space, candidate in tried)
    raise CommandError(f"there is no VirtualMachine {where}; `gitvirt get vm -A` lists them")
