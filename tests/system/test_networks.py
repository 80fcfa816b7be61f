"""The contract of networks, on libvirt's system daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

import libvirt
import pytest

from agent.core.host import HostError
from agent.hypervisor.host import LibvirtHost
from tests.hypervisor.rigs import Rig
from tests.hypervisor.test_network_contract import (  # noqa: F401
    OWN,
    WEB,
    network,
    test_a_network_of_somebody_else_is_left_alone,
    test_an_own_network_answers_in_all_of_its_subnets,
    test_more_subnets_are_served_once_the_network_is_started_anew,
    test_one_name_has_one_address,
)

ON_IT = """
<domain type='qemu'><name>guest</name><memory unit='MiB'>32</memory><os><type machine='q35'>hvm</type></os>
  <devices><interface type='network'><source network='gv-test'/><mac address='{}'/></interface></devices>
</domain>"""


@pytest.fixture
def net_rig(system_host: LibvirtHost) -> Iterator[Rig]:
    yield Rig(system_host)
    with contextlib.suppress(libvirt.libvirtError):
        made = system_host._link.main().networkLookupByName("gv-test")
        with contextlib.suppress(libvirt.libvirtError):
            made.destroy()
        made.undefine()


@pytest.fixture
def dhcp_rig(net_rig: Rig) -> Rig:
    return net_rig


def test_a_network_that_a_machine_runs_on_is_not_started_anew(
    net_rig: Rig, system_host: LibvirtHost
) -> None:
    net_rig.host.make_network(OWN)
    net_rig.host.start_network("gv-test")
    guest = system_host._link.main().createXML(ON_IT.format(WEB.mac), 0)
    try:
        more = IPv4Interface("10.66.20.1/24")
        net_rig.host.make_network(replace(OWN, addresses=(*OWN.addresses, more)))
        with pytest.raises(HostError) as refused:
            net_rig.host.start_network("gv-test")
        assert refused.value.reason == "NetworkInUse"
        assert more.network not in network(net_rig).network.served
    finally:
        guest.destroy()


def test_half_of_an_entry_is_told_and_made_whole_or_taken_out(
    net_rig: Rig, system_host: LibvirtHost
) -> None:
    net_rig.host.make_network(OWN)
    net_rig.host.start_network("gv-test")
    net_rig.host.hold_address(WEB)
    half = system_host._link.main().networkLookupByName("gv-test")
    half.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        -1,
        f"<host mac='{WEB.mac}'/>",
        libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG,
    )
    assert network(net_rig).held == (replace(WEB, half=True),)
    net_rig.host.hold_address(WEB)
    assert network(net_rig).held == (WEB,)
    half.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        -1,
        f"<host mac='{WEB.mac}'/>",
        libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE,
    )
    net_rig.host.release_address(replace(WEB, half=True))
    assert network(net_rig).held == ()
