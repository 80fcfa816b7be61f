"""VirtualMachineOperation: a request to act once on one VM. What becomes of it is the VM's
decision.
"""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_operation.applicable import (
    BY_ITSELF,
    MIGRATIONS,
    SUPPORTED,
    against_policy,
    refused,
    supersedes,
)
from agent.kinds.virtual_machine_operation.decide import LOST, decide
from agent.kinds.virtual_machine_operation.retention import outlived
from agent.kinds.virtual_machine_operation.spec import operation_spec
from agent.kinds.virtual_machine_operation.validation import CHECKS, clone_names

__all__ = [
    "BY_ITSELF",
    "LOST",
    "MIGRATIONS",
    "RECORD",
    "SUPPORTED",
    "against_policy",
    "clone_names",
    "operation_spec",
    "outlived",
    "refused",
    "supersedes",
]

RECORD = KindRecord(decide=lambda _: decide, checks=CHECKS, lost=LOST, outlived=outlived)
