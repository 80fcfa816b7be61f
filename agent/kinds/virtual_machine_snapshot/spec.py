"""The fields of a VirtualMachineSnapshot that rules read, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast


class MachineSnapshotSpec(TypedDict):
    virtualMachineName: str
    requiredConsistency: bool


def machine_snapshot_spec(spec: Mapping[str, object]) -> MachineSnapshotSpec:
    """A snapshot's spec."""
    return cast("MachineSnapshotSpec", spec)
