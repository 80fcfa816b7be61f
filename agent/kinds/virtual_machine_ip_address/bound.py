"""What of an address cannot be changed once it has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.core.ledger import Record
from agent.core.model import Key, Manifest
from agent.kinds.leases import BOUND
from agent.kinds.reservation import ATTACHED
from agent.kinds.virtual_machine_ip_address.spec import address_spec

FIXED = (
    "the VirtualMachineIPAddress is in '{}' state -> {} cannot be changed: put it back, or use a "
    "new name"
)


def fixed(
    known: Record, manifest: Manifest | None, _: Mapping[Key, Record]
) -> Iterator[tuple[str, str]]:
    """All but that an automatic one becomes a static one with the address that it has."""
    phase, address = known.status.get("phase", ""), known.status.get("address", "")
    if manifest is None or phase not in (BOUND, ATTACHED):
        return
    before, after = address_spec(known.obj.spec), address_spec(manifest.spec)
    if before["type"] == "Static" and after["type"] == "Auto":
        yield "spec.type", FIXED.format(phase, "type")
    if after["type"] == "Static" and after.get("staticIP") != address:
        yield "spec.staticIP", FIXED.format(phase, "static IP")
