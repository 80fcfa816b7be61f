"""VirtualImage and ClusterVirtualImage: read-only image data, kept once a node by its digest."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_image.data import needed, volumes
from agent.kinds.virtual_image.decide import decide
from agent.kinds.virtual_image.validation import CHECKS

RECORD = KindRecord(decide=lambda _: decide, checks=CHECKS, volumes=volumes, needed=needed)
