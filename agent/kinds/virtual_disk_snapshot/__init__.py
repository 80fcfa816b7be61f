"""VirtualDiskSnapshot: what a disk held at one moment, in a flat volume of its own that nothing
hangs on. It is never deleted by a decision here.
"""

from agent.kinds.exports import SnapshotData
from agent.kinds.record import KindRecord
from agent.kinds.virtual_disk_snapshot.data import farewell, lies, volumes
from agent.kinds.virtual_disk_snapshot.decide import decide

__all__ = ["RECORD", "SnapshotData"]

RECORD = KindRecord(decide=lambda _: decide, farewell=farewell, lies=lies, volumes=volumes)
