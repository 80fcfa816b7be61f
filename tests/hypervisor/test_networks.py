"""What libvirt's networks are, and which addresses they hold."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network

import libvirt
import pytest

from agent.core.metadata import NAMESPACE
from agent.core.network import Held, NetworkReading, RawNetwork
from agent.hypervisor.host import LibvirtHost
from agent.hypervisor.networks import DNSMASQ
from tests.hosts import Events

NAT = f"""
<network xmlns:dnsmasq="{DNSMASQ}">
  <name>office</name>
  <metadata><gitvirt:network xmlns:gitvirt="{NAMESPACE}" fleet="blue"/></metadata>
  <forward mode="nat"/>
  <bridge name="virbr-office"/>
  <ip address="10.66.10.1" prefix="24"><dhcp>
    <host mac="52:54:00:00:00:0A" name="web.default.blue.gitvirt" ip="10.66.10.5"/>
    <host mac="52:54:00:00:00:0b" ip="10.66.20.5"/>
  </dhcp></ip>
  <ip address="10.66.20.1" netmask="255.255.255.0"/>
  <ip family="ipv6" address="fd00::1" prefix="64"/>
  {{}}
</network>"""
STATIC = """
  <dnsmasq:options>
    <dnsmasq:option value="log-queries"/>
    <dnsmasq:option value="dhcp-range=10.66.20.1,static,255.255.255.0"/>
    <dnsmasq:option value="dhcp-range=nowhere,static,255.255.255.0"/>
  </dnsmasq:options>"""
BRIDGE = """
<network>
  <name>lan</name><forward mode="bridge"/><bridge name="br0"/>
  <portgroup name="guests"/>
</network>"""
WEB = Held("office", "52:54:00:00:00:0a", "10.66.10.5", "web.default.blue.gitvirt")
OTHER = Held("office", "52:54:00:00:00:0b", "10.66.20.5")

Define = Callable[[str], libvirt.virNetwork]


@pytest.fixture
def define(test_driver_host: LibvirtHost) -> Define:
    """Somebody makes a network; what is made of XML libvirt's test driver shows as a real one does."""
    return lambda xml: test_driver_host._link.main().networkDefineXML(xml)


def read(host: LibvirtHost, name: str = "office") -> NetworkReading:
    reading = host.read_network(name)
    assert reading is not None
    return reading


def test_a_network_shows_what_it_is(test_driver_host: LibvirtHost, define: Define) -> None:
    made = define(NAT.format(""))
    assert read(test_driver_host).network == RawNetwork(
        "office",
        made.UUIDString(),
        active=False,
        forward="nat",
        bridge="virbr-office",
        addresses=(IPv4Interface("10.66.10.1/24"), IPv4Interface("10.66.20.1/24")),
        served=(IPv4Network("10.66.10.0/24"),),
        serves_later=(IPv4Network("10.66.10.0/24"),),
        fleet="blue",
    )
    made.create()
    assert read(test_driver_host).network.active


def test_a_bridge_has_no_addresses_and_names_its_port_groups(
    test_driver_host: LibvirtHost, define: Define
) -> None:
    define(BRIDGE)
    lan = read(test_driver_host, "lan").network
    assert (lan.forward, lan.bridge, lan.addresses, lan.served) == ("bridge", "br0", (), ())
    assert lan.port_groups == {"guests"}
    assert lan.fleet == ""


def test_a_network_covers_the_subnets_that_dhcp_answers_in(
    test_driver_host: LibvirtHost, define: Define
) -> None:
    define(NAT.format(""))
    plain = read(test_driver_host).network
    assert [plain.covers(f"10.66.{subnet}.7") for subnet in (10, 20, 30)] == [True, False, False]


def test_an_entry_shows_for_whom_an_address_is_held(
    test_driver_host: LibvirtHost, define: Define
) -> None:
    define(NAT.format(""))
    assert read(test_driver_host).held == (WEB, OTHER)


def test_what_did_not_change_is_the_same_instance(
    test_driver_host: LibvirtHost, define: Define
) -> None:
    define(NAT.format(""))
    (first,) = (
        each
        for name, each in test_driver_host.read(frozenset()).networks.items()
        if name == "office"
    )
    assert read(test_driver_host) is first
    assert test_driver_host.read(frozenset()).networks["office"] is first


def test_a_network_that_is_gone_is_none(test_driver_host: LibvirtHost, define: Define) -> None:
    define(NAT.format("")).undefine()
    assert test_driver_host.read_network("office") is None
    assert "office" not in test_driver_host.read(frozenset()).networks


def test_what_happens_to_a_network_is_told_with_its_name(
    test_driver_host: LibvirtHost, define: Define
) -> None:
    events = Events(test_driver_host)
    define(NAT.format(""))
    assert events.wait("network").network == "office"
