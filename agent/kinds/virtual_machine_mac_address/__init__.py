"""VirtualMachineMACAddress: a MAC address that is reserved, and the machine that has it."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_mac_address.decide import decide
from agent.kinds.virtual_machine_mac_address.planned import fixed, named, promise
from agent.kinds.virtual_machine_mac_address.validation import CHECKS

__all__ = ["RECORD"]

RECORD = KindRecord(
    decide=lambda _: decide,
    checks=CHECKS,
    hindrances=frozenset(("Bound",)),
    holds=fixed,
    locks=named,
    promise=promise,
)
