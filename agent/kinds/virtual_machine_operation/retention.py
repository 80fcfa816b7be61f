"""How long operations that have ended are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from agent.core.ledger import Record
from agent.core.model import Key
from agent.core.overview import ENDED
from agent.core.status import seconds
from agent.kinds.requests import COMPLETED_AT

KEPT_FOR = 24 * 3600.0
KEPT_PER_VM = 10


def outlived(
    operations: Iterable[Record], now: float, field: str = "virtualMachineName"
) -> tuple[frozenset[Key], frozenset[Key]]:
    """Operations that ended a day ago or earlier, and those beyond the newest ten of what they are
    for, which that field of theirs names; then the others that have ended.
    """
    ended: defaultdict[tuple[str, str], list[tuple[float, str, Key]]] = defaultdict(list)
    for record in operations:
        at = _end(record)
        if at is not None:
            name = str(record.obj.spec[field])
            vm = record.obj.key.namespace, name
            ended[vm].append((at, record.obj.created, record.obj.key))
    gone = set()
    for of_one_vm in ended.values():
        of_one_vm.sort(reverse=True)
        gone |= {key for at, _, key in of_one_vm if at + KEPT_FOR <= now}
        gone |= {key for _, _, key in of_one_vm[KEPT_PER_VM:]}
    every = {key for of_one_vm in ended.values() for _, _, key in of_one_vm}
    return frozenset(gone), frozenset(every - gone)


def _end(record: Record) -> float | None:
    """When the operation ended; None while it has not."""
    if record.status.get("phase") not in ENDED:
        return None
    if at := record.status.get(COMPLETED_AT):
        return seconds(at)
    for condition in record.status.get("conditions", ()):
        if condition["type"] == "Completed":
            return seconds(condition["lastTransitionTime"])
    return seconds(record.obj.created)
