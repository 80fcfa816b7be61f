"""The fields of a VirtualMachineOperation that rules read, as an accepted one has them. A field
that no rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast

from agent.kinds.cloning import Naming


class Restoration(TypedDict):
    mode: Literal["DryRun", "Strict", "BestEffort"]
    virtualMachineSnapshotName: str


class Migration(TypedDict):
    nodeSelector: NotRequired[Mapping[str, str]]


class OperationSpec(TypedDict):
    type: Literal["Restart", "Start", "Stop", "Migrate", "Evict", "Restore", "Clone"]
    virtualMachineName: str
    force: NotRequired[bool]
    restore: NotRequired[Restoration]
    clone: NotRequired[Naming]
    migrate: NotRequired[Migration]


def operation_spec(spec: Mapping[str, object]) -> OperationSpec:
    """An operation's spec."""
    return cast("OperationSpec", spec)
