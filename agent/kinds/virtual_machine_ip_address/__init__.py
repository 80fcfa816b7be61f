"""VirtualMachineIPAddress: an address that is reserved, and the machine that has it."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_ip_address.bound import fixed
from agent.kinds.virtual_machine_ip_address.decide import decide
from agent.kinds.virtual_machine_ip_address.planned import named, promise

__all__ = ["RECORD"]

RECORD = KindRecord(
    decide=lambda _: decide,
    hindrances=frozenset(("Bound",)),
    holds=fixed,
    locks=named,
    promise=promise,
)
