"""The fields of a VirtualMachineSnapshotOperation that rules read, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast

from agent.kinds.cloning import Naming


class SnapshotOperationSpec(TypedDict):
    type: Literal["CreateVirtualMachine"]
    virtualMachineSnapshotName: str
    createVirtualMachine: NotRequired[Naming]


def snapshot_operation_spec(spec: Mapping[str, object]) -> SnapshotOperationSpec:
    """An operation's spec."""
    return cast("SnapshotOperationSpec", spec)
