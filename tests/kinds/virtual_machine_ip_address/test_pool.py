"""In what order addresses of the pool are tried, and that each is found that there is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from agent.kinds.virtual_machine_ip_address.pool import choose, in_range

TWO = (IPv4Network("10.66.10.0/30"), IPv4Network("10.66.20.0/29"))
USABLE = [f"10.66.10.{n}" for n in (1, 2)] + [f"10.66.20.{n}" for n in range(1, 7)]


def none_known(_: str) -> frozenset[str]:
    return frozenset()


@pytest.mark.parametrize("last", USABLE)
def test_the_last_free_address_is_found_wherever_it_is(last: str) -> None:
    assert choose("uid", TWO, lambda address: address == last, none_known) == last


def test_a_full_pool_has_none() -> None:
    assert choose("uid", TWO, lambda _: False, none_known) is None
    assert choose("uid", (), lambda _: True, none_known) is None


def test_the_same_uid_gets_the_same_and_others_get_others() -> None:
    wide = (IPv4Network("10.64.0.0/10"),)
    got = [choose(f"vmip-{n}", wide, lambda _: True, none_known) for n in range(100)]
    assert got == [choose(f"vmip-{n}", wide, lambda _: True, none_known) for n in range(100)]
    assert len(set(got)) == 100
    assert all(in_range(wide[0], IPv4Address(address)) for address in got if address)


def test_what_is_known_to_be_taken_is_not_tried_on_the_way_through() -> None:
    tried: list[str] = []

    def is_free(address: str) -> bool:
        tried.append(address)
        return False

    network = (IPv4Network("10.0.0.0/16"),)
    every = frozenset(map(str, network[0]))
    assert choose("uid", network, is_free, lambda _: every) is None
    assert len(tried) < 20


def test_a_search_that_others_are_quicker_in_ends_soon() -> None:
    tried: list[str] = []

    def is_free(address: str) -> bool:
        tried.append(address)
        return False

    assert choose("uid", (IPv4Network("10.0.0.0/16"),), is_free, none_known) is None
    assert len(tried) < 100


@pytest.mark.parametrize("end", ["10.66.20.0", "10.66.20.7", "10.66.20.8"])
def test_neither_end_of_a_range_is_a_machines(end: str) -> None:
    assert not in_range(TWO[1], IPv4Address(end))
