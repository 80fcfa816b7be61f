"""Node: one libvirt host."""

from agent.kinds.node.selector import selects
from agent.kinds.node.validation import CHECKS
from agent.kinds.record import KindRecord

__all__ = ["RECORD", "selects"]

RECORD = KindRecord(checks=CHECKS)
