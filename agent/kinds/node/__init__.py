"""Node: one libvirt host."""

from agent.kinds.node.decide import NodeData, decide, of_node
from agent.kinds.node.locks import mind
from agent.kinds.node.selector import selects
from agent.kinds.node.tainted import since as tainted_since
from agent.kinds.node.taking import marks, takes_all
from agent.kinds.node.validation import CHECKS
from agent.kinds.record import KindRecord

__all__ = ["RECORD", "NodeData", "marks", "mind", "selects", "tainted_since", "takes_all"]

RECORD = KindRecord(decide=lambda _: decide, checks=CHECKS, of_node=of_node)
