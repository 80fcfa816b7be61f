"""What of a MAC address cannot be changed, and what a plan says of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.ledger import Record
from agent.core.model import Key, Manifest
from agent.kinds.leases import BOUND, MAC
from agent.kinds.reservation import ATTACHED
from agent.kinds.virtual_machine_mac_address.spec import address_of

FIXED = (
    "the VirtualMachineMACAddress is in '{}' state -> address cannot be changed: put it back, or "
    "use a new name"
)


def fixed(
    known: Record, manifest: Manifest | None, _: Mapping[Key, Record]
) -> Iterator[tuple[str, str]]:
    """All but that one which was made says the address that it has."""
    phase, has = known.status.get("phase", ""), known.status.get("address", "")
    if manifest is None or phase not in (BOUND, ATTACHED):
        return
    before, after = address_of(known.obj.spec), address_of(manifest.spec)
    if after != before and after != has:
        yield "spec.address", FIXED.format(phase)


def named(manifest: Manifest) -> Iterator[Key]:
    """The lease of the address that it names."""
    address = address_of(manifest.spec)
    if address:
        yield MAC.lease_of(address)


def promise(status: Mapping[str, Any]) -> str:
    return f"takes {status['address']}, which is free" if status.get("address") else ""
