"""Ranges of addresses stay as long as machines have addresses of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from agent.core.ledger import Record
from agent.core.model import Key, Manifest
from agent.kinds.leases import IP, holder
from agent.kinds.module_config.decide import networks

CIDRS = "spec.settings.virtualMachineCIDRs"
IN_USE = (
    "must cover {} as long as addresses of it are reserved ({}): put it back, or delete these first"
)
NAMED = 3


def in_use(
    known: Record, manifest: Manifest | None, records: Mapping[Key, Record]
) -> Iterator[tuple[str, str]]:
    """Ranges that a manifest leaves out, or that go with it, though somebody has an address of
    them.
    """
    before = networks(known.obj)
    after = networks(manifest) if manifest is not None else ()
    if set(before) <= set(after):
        return
    reserved = [
        (IPv4Address(IP.address_of(key)), str(whose))
        for key, record in records.items()
        if key.kind == IP.lease and (whose := holder(IP, record.obj)).name
    ]
    lost = [each for each in reserved if not any(each[0] in network for network in after)]
    for network in before:
        users = sorted(whose for address, whose in lost if address in network)
        if users:
            more = [f"{len(users) - NAMED} more"] if len(users) > NAMED else []
            yield CIDRS, IN_USE.format(network, ", ".join((*users[:NAMED], *more)))
