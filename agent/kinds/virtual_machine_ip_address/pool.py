"""Which addresses of the pool there are for machines, and in what order they are tried."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

PROBES = 16
"""Addresses that are tried all over the pool before it is gone through."""
MOST_REFUSED = 64
"""Tries on the way through it that others were quicker at: what they have taken shows soon, and is
not tried any more then.
"""
_ENDS = 2
"""The first address of a range names the network, the last one is for all of it."""
_BLOCK = 256


def in_range(network: IPv4Network, address: IPv4Address) -> bool:
    """True for the addresses of a range that a machine may have."""
    ends = (network.network_address, network.broadcast_address)
    return address in network and address not in ends


def choose(
    uid: str,
    networks: Sequence[IPv4Network],
    is_free: Callable[[str], bool],
    taken: Callable[[str], frozenset[str]],
) -> str | None:
    """An address that is free; None if there is none. The order looks random and is derived from
    the uid: the same facts give the same address. `taken` gives addresses that are known not to be
    free, of all that begin alike (`10.66.10.`).
    """
    total = sum(network.num_addresses - _ENDS for network in networks)
    if not total:
        return None
    for count in range(PROBES):
        address = str(_nth(networks, _number(f"{uid}/{count}") % total))
        if is_free(address):
            return address
    refused = 0
    for block in _blocks(networks, _number(uid) % total):
        known = taken(f"{str(block[0]).rpartition('.')[0]}.")
        for address in map(str, block):
            if address in known:
                continue
            if is_free(address):
                return address
            refused += 1
            if refused == MOST_REFUSED:
                return None
    return None


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _nth(networks: Sequence[IPv4Network], number: int) -> IPv4Address:
    for network in networks:
        if number < network.num_addresses - _ENDS:
            return network[number + 1]
        number -= network.num_addresses - _ENDS
    raise IndexError(number)


def _blocks(networks: Sequence[IPv4Network], start: int) -> Iterator[list[IPv4Address]]:
    """All addresses that machines may have, in blocks that differ in their last number alone,
    beginning somewhere.
    """
    every = [(network, first) for network in networks for first in _firsts(network)]
    turn = start % len(every)
    for network, first in (*every[turn:], *every[:turn]):
        block = (IPv4Address(first + number) for number in range(_BLOCK))
        yield [address for address in block if in_range(network, address)]


def _firsts(network: IPv4Network) -> range:
    first = int(network.network_address)
    return range(first - first % _BLOCK, int(network.broadcast_address) + 1, _BLOCK)
