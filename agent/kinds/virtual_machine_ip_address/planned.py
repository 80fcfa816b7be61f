"""What a plan says of an address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.model import Key, Manifest
from agent.kinds.leases import IP
from agent.kinds.virtual_machine_ip_address.spec import address_spec


def named(manifest: Manifest) -> Iterator[Key]:
    """The lease of the address that it names."""
    address = address_spec(manifest.spec).get("staticIP")
    if address:
        yield IP.lease_of(address)


def promise(status: Mapping[str, Any]) -> str:
    return f"takes {status['address']}, which is free" if status.get("address") else ""
