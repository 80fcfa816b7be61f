"""VirtualMachineBlockDeviceAttachment: a disk or image that a VM has beside those of its spec, from
the moment on that it is asked for. What is done about it is the VM's decision.
"""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_block_device_attachment.decide import Wish, decide
from agent.kinds.virtual_machine_block_device_attachment.rank import MOST_DEVICES

__all__ = ["MOST_DEVICES", "RECORD", "Wish"]

RECORD = KindRecord(
    decide=lambda _: decide,
    hindrances=frozenset(
        (
            "Attached",
            "BlockDeviceReady",
            "DiskAttachmentCapacityAvailableType",
            "VirtualMachineReady",
        )
    ),
)
