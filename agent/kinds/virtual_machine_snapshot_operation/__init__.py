"""VirtualMachineSnapshotOperation: a request to make a machine once from what a snapshot has."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_operation import LOST, clone_names, outlived
from agent.kinds.virtual_machine_snapshot_operation.decide import decide

__all__ = ["RECORD"]

RECORD = KindRecord(
    decide=lambda _: decide,
    checks=(clone_names("createVirtualMachine"),),
    lost=LOST,
    outlived=lambda operations, now: outlived(operations, now, "virtualMachineSnapshotName"),
)
