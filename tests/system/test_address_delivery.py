"""A booted guest that has the address which is reserved for it, and how people see and reach it: by DHCP behind NAT, and from its
medium on a bridge.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import libvirt

from agent.core.domain_xml import parse
from agent.core.model import Json
from tests.e2e.stand import PATIENCE, Stand, find
from tests.e2e.test_access import USER_DATA, person
from tests.gitrepo.sshd import make_key
from tests.images.server import serve
from tests.rig import machine, manifest, settings
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
    return logged_in(stand, key, command).stdout


def straight(stand: Stand, key: Path) -> bool:
    """True if the host reaches the guest with nothing in between: once it answers at once."""
    return "Executing proxy command" not in logged_in(stand, key, "true").stderr


def logged_in(stand: Stand, key: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "agent", "ssh", "-i", str(key), "-o", "BatchMode=yes"]
    words += ["-o", "LogLevel=DEBUG1", "--local-ssh"]
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
    return done


def static(address: str) -> dict[str, Any]:
    return manifest("VirtualMachineIPAddress", "custom", {"type": "Static", "staticIP": address})


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


def rows(stand: Stand, kind: str) -> list[list[str]]:
    """A table as people read it, without the ages."""
    lines = stand.gitvirt("get", kind).splitlines()
    assert all(
        line.split()[-1] == "AGE" or re.fullmatch(r"\w+", line.split()[-1]) for line in lines
    )
    return [line.split()[:-1] for line in lines]


def reached(stand: Stand) -> None:
    """By console and by VNC, as by ssh."""
    with person(stand, "console", "vm") as one:
        one.expect(r"Successfully connected to vm console\. The escape sequence is \^\]\r\n")
        one.answer("\r", "vm login: ")
        one.type("\x1d")
        assert one.end() == 0
    with person(stand, "vnc", "vm") as one:
        port = int(one.expect(r"vnc://127\.0\.0\.1:(\d+)").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
        one.type("\x03")
        assert one.end() == 130


def test_a_guest_has_its_address_behind_nat_and_keeps_it_on_a_bridge(
    stand: Stand, guest: bytes, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "key")
    public = key.with_suffix(".pub").read_text().strip()
    cloud = {"type": "UserData", "userData": USER_DATA.format(key=public)}
    stand.images.routes["/guest"] = serve(guest)
    stand.push(
        {
            "config.yaml": settings("10.66.10.0/24", "10.66.20.0/24"),
            "image.yaml": image(stand.images.url("/guest")),
            "disk.yaml": disk(),
            "vm.yaml": machine(provisioning=cloud, runPolicy="AlwaysOn"),
        }
    )
    stand.start()
    stand.wait_for(lambda: networks(stand), "the guest's network")
    address = stand.status(VM, "vm")["ipAddress"]
    assert networks(stand) == [address]
    assert leased(stand) == address
    assert held(stand) == [("vm.default.system.gitvirt", address)]
    assert f"inet {address}/24 " in ssh(stand, key, "ip -4 address show dev eth0")
    stand.wait_for(lambda: straight(stand, key), "a way with nothing in between")
    stand.wait_for(lambda: confirmed(stand), "the guest's agent says that it has the address")
    reached(stand)

    # people see it, and who has it
    reserved = stand.gitvirt(
        "get", "vm", "vm", "-o", "jsonpath={.status.virtualMachineIPAddressName}"
    )
    assert re.fullmatch(r"vm-[a-z0-9]{5}", reserved)
    assert rows(stand, "vmip") == [
        ["NAME", "ADDRESS", "STATUS", "VM"],
        [reserved, address, "Attached", "vm"],
    ]
    holder = f'{{"name":"{reserved}","namespace":"default"}}'
    assert rows(stand, "vmipl") == [
        ["NAME", "VIRTUALMACHINEIPADDRESS", "STATUS"],
        [f"ip-{address.replace('.', '-')}", holder, "Bound"],
    ]

    # and ask for another one, which it has after a restart
    stand.push(
        {
            "ip.yaml": static("10.66.20.77"),
            "vm.yaml": machine(
                provisioning=cloud, runPolicy="AlwaysOn", virtualMachineIPAddressName="custom"
            ),
        }
    )
    stand.wait_for(lambda: stand.status(VM, "vm").get("restartAwaitingChanges"), "a change")
    stand.gitvirt("restart", "vm", "--wait")
    stand.wait_for(lambda: networks(stand) == [address, "10.66.20.77"], "the address asked for")
    address = "10.66.20.77"
    stand.wait_for(lambda: confirmed(stand), "the guest's agent says that it has the address")
    assert ssh(stand, key, "hostname") == "vm\n"
    assert ["custom", address, "Attached", "vm"] in rows(stand, "vmip")

    # somebody connects Main to a bridge; what runs goes on as it is, and has its address there after any end of it
    stand.stop()
    stand.config = stand.folder / "config.yaml"
    stand.config.write_text(ON_A_BRIDGE)
    stand.start()
    stand.wait_for(
        lambda: BRIDGE in stand.domain("vm").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "a definition on the bridge",
    )
    assert ("vm.default.system.gitvirt", address) in held(stand)
    stand.domain("vm").destroy()
    stand.wait_for(
        lambda: networks(stand)[2:] == [address],
        "the same address on the bridge",
    )
    stand.wait_for(lambda: confirmed(stand), "the guest's agent says that it has the address")
    assert BRIDGE in stand.domain("vm").XMLDesc()
    assert stand.status(VM, "vm")["ipAddress"] == address
    reached(stand)
    stand.wait_for(lambda: held(stand) == [], "the network holding nothing any more", 60)
    made = stand.virsh.networkLookupByName(NETWORK)
    made.destroy()
    made.undefine()
