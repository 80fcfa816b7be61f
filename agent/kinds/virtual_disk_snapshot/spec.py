"""The fields of a VirtualDiskSnapshot that rules read, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast


class SnapshotSpec(TypedDict):
    virtualDiskName: str
    requiredConsistency: bool


def snapshot_spec(spec: Mapping[str, object]) -> SnapshotSpec:
    """A snapshot's spec."""
    return cast("SnapshotSpec", spec)
