"""StorageClass: a name for one of the storage pools that the agent's settings allow, and the rules
for the disks that lie in it.
"""

from agent.kinds.record import KindRecord
from agent.kinds.storage_class.choice import Storage, default_class, ready, storage
from agent.kinds.storage_class.decide import decide, pools

__all__ = ["RECORD", "Storage", "default_class", "ready", "storage"]

RECORD = KindRecord(decide=lambda _: decide, pools=pools)
