"""VirtualDiskSnapshot: what a disk held at one moment, in a flat volume of its own that nothing
hangs on. It is never deleted by a decision here.
"""

from agent.kinds.exports import SnapshotData
from agent.kinds.record import KindRecord
from agent.kinds.virtual_disk_snapshot.data import farewell, lies, stored, volumes
from agent.kinds.virtual_disk_snapshot.decide import decide
from agent.kinds.virtual_disk_snapshot.moment import (
    CONSISTENT,
    FINAL,
    NO_AGENT,
    Moment,
    moment,
    sentence,
)
from agent.kinds.virtual_disk_snapshot.spec import snapshot_spec

__all__ = [
    "CONSISTENT",
    "FINAL",
    "NO_AGENT",
    "RECORD",
    "Moment",
    "SnapshotData",
    "moment",
    "sentence",
    "snapshot_spec",
    "stored",
]

RECORD = KindRecord(decide=lambda _: decide, farewell=farewell, lies=lies, volumes=volumes)
