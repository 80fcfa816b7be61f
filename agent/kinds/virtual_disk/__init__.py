"""VirtualDisk: a qcow2 volume of its own, blank or on top of image data. Its data is never deleted
by a decision here.
"""

from agent.kinds.exports import DiskData
from agent.kinds.record import KindRecord
from agent.kinds.virtual_disk.data import farewell, lies, needed, volumes
from agent.kinds.virtual_disk.decide import decide
from agent.kinds.virtual_disk.location import image_of
from agent.kinds.virtual_disk.pinning import barring
from agent.kinds.virtual_disk.spec import disk_spec
from agent.kinds.virtual_disk.usage import overlays, users
from agent.kinds.virtual_disk.validation import CHECKS
from agent.kinds.virtual_disk.volume import BROUGHT_BACK, RESTORED, Stored, begun, recorded

__all__ = [
    "BROUGHT_BACK",
    "RECORD",
    "RESTORED",
    "DiskData",
    "Stored",
    "barring",
    "begun",
    "disk_spec",
    "image_of",
    "overlays",
    "recorded",
    "users",
]

RECORD = KindRecord(
    decide=lambda _: decide,
    checks=CHECKS,
    farewell=farewell,
    lies=lies,
    volumes=volumes,
    needed=needed,
    hindrances=frozenset(("DatasourceReady", "StorageClassReady", "Migrating", "Resizing")),
)
