"""VirtualImage and ClusterVirtualImage: read-only image data, kept once a node by its digest."""

from agent.kinds.exports import ImageData
from agent.kinds.record import KindRecord
from agent.kinds.virtual_image.data import LOST, needed, needed_as, volumes
from agent.kinds.virtual_image.decide import decide
from agent.kinds.virtual_image.source import imported, speed
from agent.kinds.virtual_image.sources import origin, source_uid
from agent.kinds.virtual_image.sources.upload import clearing
from agent.kinds.virtual_image.spec import Container, Http, device_key
from agent.kinds.virtual_image.validation import CHECKS

__all__ = [
    "CHECKS",
    "LOST",
    "RECORD",
    "Container",
    "Http",
    "ImageData",
    "clearing",
    "device_key",
    "imported",
    "needed_as",
    "origin",
    "source_uid",
    "speed",
]

RECORD = KindRecord(decide=lambda _: decide, checks=CHECKS, volumes=volumes, needed=needed)
