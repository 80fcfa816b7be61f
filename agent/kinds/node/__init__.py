"""Node: one libvirt host."""

from agent.kinds.node.validation import CHECKS
from agent.kinds.record import KindRecord

RECORD = KindRecord(checks=CHECKS)
