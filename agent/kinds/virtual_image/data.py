"""Image data that an object needs, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.core.identity import POOL, image_volume
from agent.core.ledger import Record
from agent.core.model import Json
from agent.kinds.virtual_image.spec import image_spec

_UNKNOWN = ("", "Pending", "Provisioning")
_COPYING = ("Provisioning",)
"""What waits for another object has no data of its own, and may wait for ever."""
LOST = ("PVCLost", "ImageLost", "Failed", "Pending", "Provisioning", "WaitForUserUpload")
"""Phases of disks and images without a volume."""


def needed(fleet: str, record: Record) -> str | None:
    """The volume with the data that an image was made to have."""
    return needed_as(fleet, record, record.status)


def needed_as(fleet: str, record: Record, facts: Mapping[str, Json]) -> str | None:
    """The same by what is remembered of the import; empty if there is none, None while nobody
    knows.
    """
    source = image_spec(record.obj.spec).get("dataSource")  # a disk may have none
    if source is None:
        return ""
    if facts.get("digest"):
        return image_volume(fleet, facts["digest"], facts["format"])
    unknown = _COPYING if source["type"] == "ObjectRef" else _UNKNOWN
    return None if record.status.get("phase", "") in unknown else ""


def volumes(fleet: str, record: Record) -> Iterator[tuple[str, str, int, int]]:
    """The volume that the ledger says is there: pool, name, capacity and bytes stored."""
    status = record.status
    size = status.get("size", {})
    if status.get("phase") not in LOST and status.get("digest") and size:
        name = image_volume(fleet, status["digest"], status["format"])
        yield POOL, name, int(size["unpackedBytes"]), int(size["storedBytes"])
