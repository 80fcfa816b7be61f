"""What a manifest may not change any more, or not take away, as things are."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.acceptance import Pruning, frozen
from agent.core.ledger import Record
from agent.core.model import BUILT_IN, Key, Manifest, Problem
from agent.core.schema import Kind
from agent.kinds.registry import BUILT_INS, RECORDS

MADE = ("capacity", "digest")
"""What a status says of an object whose data is there, in whatever phase it is."""
GONE = "its manifest is gone, and it stays: it {}"


def changed(
    kind: Kind, known: Record, manifest: Manifest, records: Mapping[Key, Record]
) -> list[tuple[str, str]]:
    """Path and sentence where a manifest changes what cannot be changed any more, also of an object
    that is being deleted or in the trash.
    """
    if known.obj.deleted and kind.irreversible:
        return []
    if known.obj.source == BUILT_IN or manifest in BUILT_INS:
        return []  # a built-in class and a manifest of its name take turns
    ready = known.status.get("phase") == "Ready" or any(map(known.status.get, MADE))
    return [
        *frozen(kind, known.obj, manifest, ready=ready),
        *RECORDS[kind.name].holds(known, manifest, records),
    ]


def kept(pruning: Pruning, records: Mapping[Key, Record]) -> Pruning:
    """The same without what must not go yet."""
    held = {
        key: GONE.format(sentence)
        for key in pruning.delete
        for _, sentence in list(RECORDS[key.kind].holds(records[key], None, records))[:1]
    }
    return Pruning(
        tuple(key for key in pruning.delete if key not in held),
        (*pruning.held, *(Problem("", 0, str(key), "", told) for key, told in held.items())),
    )
