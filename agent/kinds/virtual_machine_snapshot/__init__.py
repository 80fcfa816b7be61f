"""VirtualMachineSnapshot: what all disks of a machine held at one moment, each in a
VirtualDiskSnapshot of its own, and where the manifests stand that the machine was made from.
"""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_snapshot.captured import disks_of, resources
from agent.kinds.virtual_machine_snapshot.decide import NAMES, READY, decide, farewell

__all__ = ["NAMES", "READY", "RECORD", "disks_of", "resources"]

RECORD = KindRecord(decide=lambda _: decide, farewell=farewell)
