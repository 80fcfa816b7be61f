"""VirtualMachineIPAddressLease: an address that is taken out of the pool."""

from agent.kinds.leases import IP, deciding, declared
from agent.kinds.record import KindRecord

__all__ = ["RECORD"]

RECORD = KindRecord(decide=lambda _: deciding(IP), checks=(declared(IP),))
