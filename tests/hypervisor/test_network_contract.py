"""What every host does with networks, whatever stands behind it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

import pytest

from agent.core.host import HostError
from agent.core.network import Held, NatNetwork, NetworkReading
from tests.hypervisor.rigs import Rig
from tests.memory_host import MemoryHost

OWN = NatNetwork(
    "gv-test", "blue", "virbr-test", "52:54:00:66:10:01", (IPv4Interface("10.66.10.1/24"),)
)
WEB = Held("gv-test", "52:54:00:00:00:0a", "10.66.10.5", "web.default.blue.gitvirt")
DB = Held("gv-test", "52:54:00:00:00:0b", "10.66.10.6", "db.default.blue.gitvirt")


@pytest.fixture(params=["memory", "test_driver"])
def net_rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "memory":
        return Rig(MemoryHost())
    return Rig(request.getfixturevalue("test_driver_host"), domain_type="test")


@pytest.fixture
def dhcp_rig() -> Rig:
    """Hosts that show what runs apart from what is to run, and what is dnsmasq's own: not libvirt's test driver."""
    return Rig(MemoryHost())


def network(rig: Rig) -> NetworkReading:
    reading = rig.host.read_network("gv-test")
    assert reading is not None
    return reading


def test_an_own_network_is_there_once_it_is_made(net_rig: Rig) -> None:
    net_rig.host.make_network(OWN)
    made = network(net_rig).network
    assert (made.active, made.forward, made.bridge, made.fleet) == (
        False,
        "nat",
        "virbr-test",
        "blue",
    )
    assert made.addresses == OWN.addresses
    net_rig.host.start_network("gv-test")
    assert network(net_rig).network.active
    before = network(net_rig)
    net_rig.host.make_network(OWN)
    net_rig.host.start_network("gv-test")
    assert network(net_rig) == before


def test_an_own_network_answers_in_all_of_its_subnets(dhcp_rig: Rig) -> None:
    other = IPv4Interface("10.66.20.1/25")
    dhcp_rig.host.make_network(replace(OWN, addresses=(*OWN.addresses, other)))
    served = (IPv4Network("10.66.10.0/24"), IPv4Network("10.66.20.0/25"))
    assert network(dhcp_rig).network.served == served
    dhcp_rig.host.start_network("gv-test")
    dhcp_rig.host.hold_address(replace(WEB, address="10.66.20.5"))
    assert network(dhcp_rig).network.served == served


def test_a_network_of_somebody_else_is_left_alone(net_rig: Rig) -> None:
    net_rig.host.make_network(OWN)
    before = network(net_rig)
    with pytest.raises(HostError) as refused:
        net_rig.host.make_network(replace(OWN, fleet="green", bridge="virbr-green"))
    assert refused.value.reason == "NetworkForeign"
    assert network(net_rig) == before


@pytest.mark.parametrize("runs", [False, True])
def test_an_address_is_held_until_it_is_released(net_rig: Rig, runs: bool) -> None:
    net_rig.host.make_network(OWN)
    if runs:
        net_rig.host.start_network("gv-test")
    net_rig.host.hold_address(WEB)
    net_rig.host.hold_address(DB)
    net_rig.host.hold_address(WEB)
    assert network(net_rig).held == (WEB, DB)
    net_rig.host.release_address(WEB)
    net_rig.host.release_address(WEB)
    assert network(net_rig).held == (DB,)


def test_what_is_held_outlives_a_start_of_its_network(net_rig: Rig) -> None:
    net_rig.host.make_network(OWN)
    net_rig.host.hold_address(WEB)
    net_rig.host.start_network("gv-test")
    assert network(net_rig).held == (WEB,)
    net_rig.host.make_network(
        replace(OWN, addresses=(*OWN.addresses, IPv4Interface("10.66.30.1/24")))
    )
    assert network(net_rig).held == (WEB,)


def test_one_name_has_one_address(net_rig: Rig) -> None:
    net_rig.host.make_network(OWN)
    net_rig.host.start_network("gv-test")
    net_rig.host.hold_address(WEB)
    moved = replace(WEB, address="10.66.10.7")
    net_rig.host.hold_address(moved)
    assert network(net_rig).held == (moved,)
    other_card = replace(moved, mac="52:54:00:00:00:0c")
    net_rig.host.hold_address(other_card)
    assert network(net_rig).held == (other_card,)


@pytest.mark.parametrize(
    "other",
    [
        replace(DB, address=WEB.address),
        replace(DB, mac=WEB.mac),
        replace(DB, mac=WEB.mac, address=WEB.address),
    ],
    ids=["address", "card", "both"],
)
def test_what_is_held_for_somebody_else_is_left_alone(net_rig: Rig, other: Held) -> None:
    net_rig.host.make_network(OWN)
    net_rig.host.hold_address(WEB)
    with pytest.raises(HostError) as refused:
        net_rig.host.hold_address(other)
    assert refused.value.reason == "AddressTaken"
    net_rig.host.release_address(other)
    assert network(net_rig).held == (WEB,)


def test_in_a_network_that_is_not_there_nothing_is_held(net_rig: Rig) -> None:
    with pytest.raises(HostError) as refused:
        net_rig.host.hold_address(WEB)
    assert refused.value.reason == "NetworkNotFound"
    with pytest.raises(HostError):
        net_rig.host.start_network("gv-test")
    net_rig.host.release_address(WEB)


def test_more_subnets_are_served_once_the_network_is_started_anew(dhcp_rig: Rig) -> None:
    dhcp_rig.host.make_network(OWN)
    dhcp_rig.host.start_network("gv-test")
    more = IPv4Interface("10.66.20.1/24")
    dhcp_rig.host.make_network(replace(OWN, addresses=(*OWN.addresses, more)))
    seen = network(dhcp_rig).network
    assert more.network not in seen.served
    assert more.network in seen.serves_later
    dhcp_rig.host.start_network("gv-test")
    assert more.network in network(dhcp_rig).network.served
