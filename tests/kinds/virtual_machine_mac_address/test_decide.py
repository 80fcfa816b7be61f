"""Which MAC address an object reserves."""

from __future__ import annotations

from agent.core import known
from agent.core.model import Key
from agent.kinds.leases import MAC
from agent.kinds.virtual_machine_mac_address.decide import TRIES, decide
from tests.kinds.deciding import READY, UNREAD, condition, decided, made, said

KEY = Key(MAC.kind, "default", "mine")
ANY = made(KEY, {})
ASKED = made(KEY, {"address": "52-54-00-AA-00-01"})


def test_it_is_written_as_libvirt_does() -> None:
    decision = decided(decide, ASKED, READY)
    assert said(decision)["address"] == "52:54:00:aa:00:01"
    (lease,) = decision.makes
    assert lease.key.name == "mac-52-54-00-aa-00-01"


def test_an_address_that_a_domain_has_is_not_chosen() -> None:
    first = said(decided(decide, ANY, READY))["address"]
    second = said(decided(decide, ANY, {**READY, (known.WIRED, first): ("a-uuid",)}))["address"]
    assert first != second
    assert said(decided(decide, ANY, READY))["address"] == first


def test_where_all_that_it_tries_are_taken_it_says_so() -> None:
    facts = dict(READY)
    for _ in range(TRIES):
        address = said(decided(decide, ANY, facts))["address"]
        facts[known.WIRED, address] = ("a-uuid",)
    decision = decided(decide, ANY, facts)
    assert condition(decision, "Bound").reason == "VirtualMachineMACAddressLeaseAlreadyExists"
    assert decision.makes == ()


def test_nothing_is_chosen_before_the_node_has_been_read() -> None:
    decision = decided(decide, ANY, UNREAD)
    assert condition(decision, "Bound").reason == "VirtualMachineMACAddressLeaseNotReady"
    assert decision.waiting
