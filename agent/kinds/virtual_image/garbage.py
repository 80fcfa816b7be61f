"""Image data that nothing needs any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.identity import image_volume
from agent.core.ledger import Record
from agent.core.model import Json

_IMAGES = ("VirtualImage", "ClusterVirtualImage")
IMPORTING = (*_IMAGES, "VirtualDisk")
"""Kinds of which an object may need image data."""
_UNKNOWN = ("", "Pending", "Provisioning")


def needed(fleet: str, records: Iterable[Record]) -> frozenset[str] | None:
    """Volumes whose data some object was made to have; None while that is not known of all."""
    names = set()
    for each in records:
        if not _imports(each):
            continue
        facts = _facts(each)
        if facts.get("digest"):
            names.add(image_volume(fleet, facts["digest"], facts["format"]))
        elif each.status.get("phase", "") in _UNKNOWN:
            return None
    return frozenset(names)


def _imports(each: Record) -> bool:
    if each.obj.key.kind not in IMPORTING:
        return False
    return bool(each.obj.spec.get("dataSource", {}).get("type") == "HTTP")


def _facts(each: Record) -> Mapping[str, Json]:
    if each.obj.key.kind in _IMAGES:
        return each.status
    found: Mapping[str, Json] = each.status.get("import", {})
    return found
