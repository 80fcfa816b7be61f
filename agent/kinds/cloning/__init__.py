"""How a machine is made from another one, or from what a snapshot has of one: manifests under new
names on a branch for people to merge, and disks that begin with snapshots. Nothing here takes one.
"""

from agent.kinds.cloning.copies import Captured, Copy, copies, hindrance
from agent.kinds.cloning.course import BRANCH, Asked, followed, looked_at, proposed
from agent.kinds.cloning.names import Naming

__all__ = [
    "BRANCH",
    "Asked",
    "Captured",
    "Copy",
    "Naming",
    "copies",
    "followed",
    "hindrance",
    "looked_at",
    "proposed",
]
