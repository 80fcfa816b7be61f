"""A booted guest and the networks that it is connected to while it runs, on libvirt's system daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from agent.core.domain_xml import named, parse
from agent.core.xml import Element
from agent.hypervisor.host import LibvirtHost
from tests.e2e.stand import Stand
from tests.images.server import serve
from tests.rig import machine, manifest
from tests.system.conftest import Machine
from tests.system.isolated import BRIDGE

OFFICE = """
<network><name>office</name><bridge name='virbr-office'/>
  <ip address='10.77.0.1' prefix='24'><dhcp><range start='10.77.0.50' end='10.77.0.99'/></dhcp></ip></network>"""
SETTINGS = f"""
networks:
  main: {{network: office}}
  office: {{network: office, filter: clean-traffic}}
  lan: {{bridge: {BRIDGE}}}
"""
VM = "VirtualMachine"
MAIN = {"type": "Main"}
SECOND = {"type": "Network", "name": "office"}
LAN = {"type": "ClusterNetwork", "name": "lan"}


@pytest.fixture
def office(stand: Stand) -> Iterator[libvirt.virNetwork]:
    network = stand.virsh.networkDefineXML(OFFICE)
    network.create()
    yield network
    network.destroy()
    network.undefine()


@pytest.fixture
def up(stand: Stand, office: libvirt.virNetwork, guest: bytes) -> Stand:
    """A guest that has an address of Main's."""
    stand.config = stand.folder / "config.yaml"
    stand.config.write_text(SETTINGS)
    stand.images.routes["/guest"] = serve(guest)
    files = {"image.yaml": image(stand.images.url("/guest")), "disk.yaml": disk()}
    stand.push({**files, "vm.yaml": wants(MAIN)})
    stand.start()
    stand.wait_for(lambda: addresses(stand).get(""), "an address on Main")
    return stand


def image(url: str) -> dict[str, Any]:
    source = {"type": "HTTP", "http": {"url": url}}
    return manifest("VirtualImage", "guest", {"storage": "ContainerRegistry", "dataSource": source})


def disk() -> dict[str, Any]:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "guest"}}
    return manifest(
        "VirtualDisk", "root", {"dataSource": source, "persistentVolumeClaim": {"size": "64Mi"}}
    )


def wants(*networks: dict[str, Any]) -> dict[str, Any]:
    return machine(networks=[*networks])


def addresses(stand: Stand) -> dict[str, str]:
    """The address on each network, as the status has it; empty where there is none."""
    listed = stand.status(VM, "vm").get("networks", ())
    return {each.get("name", ""): each.get("ipAddress", "") for each in listed}


def interfaces(stand: Stand) -> dict[str, Element]:
    """Those of the running instance, by what they lead to."""
    found = parse(stand.domain("vm").XMLDesc()).iterfind("devices/interface")
    return {
        f"{source.get('network') or source.get('bridge')}{' filtered' * (each.find('filterref') is not None)}": each
        for each in found
        if (source := each.find("source")) is not None
    }


def test_a_host_says_which_bridges_and_filters_it_has(system_machine: Machine) -> None:
    wanted = frozenset({BRIDGE, "nope"})
    with contextlib.closing(
        LibvirtHost(None, system_machine.settings["GITVIRT_CONNECT"], bridges=wanted)
    ) as host:
        node = host.read(frozenset()).node
    assert node.bridges == {BRIDGE: True}
    assert node.filters is not None
    assert "clean-traffic" in node.filters


def test_networks_come_and_go_under_a_guest_that_runs(up: Stand) -> None:
    assert list(addresses(up)) == [""]

    # two more, one with DHCP and a filter
    up.push({"vm.yaml": wants(MAIN, SECOND, LAN)})
    up.wait_for(lambda: addresses(up).get("office"), "an address on the second network")
    assert interfaces(up).keys() == {"office", "office filtered", BRIDGE}
    assert list(addresses(up)) == ["", "office", "lan"]
    assert addresses(up)["office"].startswith("10.77.0.")
    assert addresses(up)["office"] != addresses(up)[""]
    up.wait_for_condition(VM, "vm", "NetworkReady")

    # somebody unplugs one
    lan = interfaces(up)[BRIDGE]
    up.domain("vm").detachDeviceAlias(alias(lan), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    up.wait_for(lambda: "network: eth2 removed" in up.console("vm"), "the guest losing it")
    up.wait_for(lambda: BRIDGE in interfaces(up), "it being back")
    assert named(interfaces(up)[BRIDGE]) == named(lan)

    # and both go
    up.push({"vm.yaml": wants(MAIN)})
    up.wait_for(lambda: list(addresses(up)) == [""], "both being gone")
    assert interfaces(up).keys() == {"office"}
    assert up.instances("vm") == 1
    assert not up.status(VM, "vm").get("restartAwaitingChanges")
    up.wait_for(lambda: "network: eth1 removed" in up.console("vm"), "the guest losing it")


def alias(interface: Element) -> str:
    found = interface.find("alias")
    assert found is not None
    return found.get("name", "")
