"""VirtualMachineMACAddressLease: a MAC address that is in use."""

from agent.kinds.leases import MAC, deciding, declared
from agent.kinds.record import KindRecord

__all__ = ["RECORD"]

RECORD = KindRecord(decide=lambda _: deciding(MAC), checks=(declared(MAC),))
