"""A booted guest that has the address which is reserved for it: by DHCP behind NAT, and from its medium on a bridge."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import libvirt

from agent.core.domain_xml import parse
from agent.core.model import Json
from tests.e2e.stand import PATIENCE, Stand, find
from tests.e2e.test_access import USER_DATA
from tests.gitrepo.sshd import make_key
from tests.images.server import serve
from tests.rig import machine, settings
from tests.system.isolated import BRIDGE
from tests.system.test_interfaces import disk, image

VM = "VirtualMachine"
NETWORK = "gitvirt-system"
ON_A_BRIDGE = f"networks:\n  main: {{bridge: {BRIDGE}, gateway: 10.66.10.254}}\n"


def inside(root: Path) -> int:
    """A process that is on the machine's own network."""
    for folder in Path("/proc").glob("[0-9]*"):
        command = (folder / "cmdline").read_bytes().split(b"\0") if folder.exists() else []
        if command[:1] == [b"libvirtd"] and str(root).encode() in b" ".join(command):
            return int(folder.name)
    raise AssertionError("the machine has no libvirtd")


def ssh(stand: Stand, key: Path, command: str) -> str:
    """What a command in the guest prints, of somebody who logs in from the host."""
    words = [sys.executable, "-m", "agent", "ssh", "-i", str(key), "-o", "BatchMode=yes"]
    done = subprocess.run(
        [
            *("nsenter", f"--net=/proc/{inside(stand.session.root)}/ns/net", *words),
            *("-o", "IdentityAgent=none", "cloud@vm", "-c", command),
        ],
        env=stand.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def held(stand: Stand) -> list[tuple[str, str]]:
    """Addresses that the agent's own network holds, with the names that go with them."""
    xml = parse(stand.virsh.networkLookupByName(NETWORK).XMLDesc())
    return [(each.get("name", ""), each.get("ip", "")) for each in xml.iterfind("ip/dhcp/host")]


def leased(stand: Stand) -> str:
    found: Json = stand.domain("vm").interfaceAddresses(
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE
    )
    (interface,) = dict(found).values()
    return str(interface["addrs"][0]["addr"])


def networks(stand: Stand) -> list[str]:
    """The address that the guest had at each of its boots."""
    return re.findall(r"network: eth0 (\S+)\n", stand.console("vm"))


def confirmed(stand: Stand) -> bool:
    said = find(stand.status(VM, "vm"), "VirtualMachineIPAddressReady", "True")
    return bool(said) and not said.get("message") and stand.phase(VM, "vm") == "Running"


def test_a_guest_has_its_address_behind_nat_and_keeps_it_on_a_bridge(
    stand: Stand, guest: bytes, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "key")
    public = key.with_suffix(".pub").read_text().strip()
    cloud = {"type": "UserData", "userData": USER_DATA.format(key=public)}
    stand.images.routes["/guest"] = serve(guest)
    stand.push(
        {
            "config.yaml": settings("10.66.10.0/24"),
            "image.yaml": image(stand.images.url("/guest")),
            "disk.yaml": disk(),
            "vm.yaml": machine(provisioning=cloud, runPolicy="AlwaysOn"),
        }
    )
    stand.start()
    stand.wait_for(lambda: networks(stand), "the guest's network")
    address = stand.status(VM, "vm")["ipAddress"]
    assert address.startswith("10.66.10.")
    assert networks(stand) == [address]
    assert leased(stand) == address
    assert held(stand) == [("vm.default.system.gitvirt", address)]
    assert f"inet {address}/24 " in ssh(stand, key, "ip -4 address show dev eth0")
    stand.wait_for(lambda: confirmed(stand), "the guest's agent says that it has the address")

    # somebody connects Main to a bridge; what runs goes on as it is, and has its address there after any end of it
    stand.stop()
    stand.config = stand.folder / "config.yaml"
    stand.config.write_text(ON_A_BRIDGE)
    stand.start()
    stand.wait_for(
        lambda: BRIDGE in stand.domain("vm").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "a definition on the bridge",
    )
    assert held(stand) == [("vm.default.system.gitvirt", address)]
    stand.domain("vm").destroy()
    stand.wait_for(
        lambda: networks(stand) == [address, address],
        "the same address on the bridge",
    )
    stand.wait_for(lambda: confirmed(stand), "the guest's agent says that it has the address")
    assert BRIDGE in stand.domain("vm").XMLDesc()
    assert stand.status(VM, "vm")["ipAddress"] == address
    stand.wait_for(lambda: held(stand) == [], "the network holding nothing any more", 60)
    made = stand.virsh.networkLookupByName(NETWORK)
    made.destroy()
    made.undefine()
