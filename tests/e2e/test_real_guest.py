"""A Debian with its own cloud-init gets everything that a first manifest says, and does it.

`sh tests/real-guest.sh` makes the image and runs this: it takes minutes where machines are emulated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand
from tests.images.server import serve
from tests.rig import manifest

NAME = "first-guest"
BOOT = 1800.0
"""Seconds that an emulated Debian has for its first boot, on a machine that is busy."""
PASSWORD = "correct horse"
# made by: openssl passwd -6 -salt realguest 'correct horse'
HASH = "$6$realguest$7g9Nw5rRx0/TRcSM.4Ds8VG6lbWMk6N2TN50dFfgR2sH1vo0tvtjyp06cLVkyspWSNfrG2cHwAPvVp.aS4LJq1"
USER_DATA = f"""#cloud-config
package_update: true
packages:
  - lighttpd
  - qemu-guest-agent
run_cmd:
  - systemctl enable --now qemu-guest-agent.service
  - touch /srv/run_cmd-was-heard
ssh_pwauth: true
users:
  - name: ada
    passwd: '{HASH}'
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: false
final_message: "first-guest is complete, $UPTIME seconds later: {{{{a}}}} `b`"
"""


@pytest.fixture(scope="module")
def debian() -> bytes:
    given = os.environ.get("GITVIRT_REAL_GUEST")
    if not given:
        pytest.fail("GITVIRT_REAL_GUEST must name Debian's image, as tests/real-guest.sh makes it")
    return Path(given).read_bytes()


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand, debian: bytes) -> Iterator[Stand]:
    with make_stand("real") as stand:
        stand.images.routes["/debian.qcow2"] = serve(debian)
        stand.start()
        yield stand


def manifests(stand: Stand) -> list[dict[str, object]]:
    image = {"type": "HTTP", "http": {"url": stand.images.url("/debian.qcow2")}}
    base = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "debian"}}
    return [
        manifest("VirtualImage", "debian", {"storage": "ContainerRegistry", "dataSource": image}),
        manifest(
            "VirtualDisk",
            "first-guest-system",
            {"dataSource": base, "persistentVolumeClaim": {"size": "3Gi"}},
        ),
        manifest(
            "VirtualMachine",
            NAME,
            {
                "virtualMachineClassName": "host",
                "provisioning": {"type": "UserData", "userData": USER_DATA},
                "cpu": {"cores": 1, "coreFraction": "10%"},
                "memory": {"size": "1Gi"},
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "first-guest-system"}],
            },
        ),
    ]


@pytest.mark.promise("S9", "S11", "S12", "S14", "S15", "S159", "S160")
def test_a_first_manifest_makes_a_machine_that_has_done_what_it_says(
    stand: Stand, tmp_path: Path
) -> None:
    (tmp_path / "vm.yaml").write_text(yaml.safe_dump_all(manifests(stand)))
    said = stand.gitvirt("validate", str(tmp_path))
    assert "spec.provisioning.userData" in said
    assert "did you mean runcmd?" in said

    stand.push({"vm.yaml": manifests(stand)})
    stand.wait_for_phase("VirtualMachine", NAME, "Running")
    final = r"first-guest is complete, [0-9.]+ seconds later: \{\{a\}\} `b`\n"
    stand.wait_for(lambda: re.search(final, stand.console(NAME)), "the final message", BOOT)

    with stand.terminal(NAME) as terminal:
        terminal.log_in(NAME, "ada", PASSWORD)

        def answer(command: str) -> str:
            terminal.type(f"echo '<'$({command})'>'")
            found = terminal.expect(r"<([^\n<>]*)>\n")
            terminal.expect(r"\$ ")
            return found.strip()[1:-1]

        assert answer("getent passwd ada | cut -d: -f7; echo $0") == "/bin/bash -bash"
        assert answer("sudo -n id -un") == "root"
        assert "status: done " in answer("cloud-init status --wait --long")
        assert answer("cloud-id") == "nocloud"
        assert answer("sudo systemctl is-active lighttpd") == "active"
        assert answer("sudo sshd -T | grep -i ^passwordauthentication") == (
            "passwordauthentication yes"
        )
        # gitvirt has noted it, and cloud-init has passed it over without a word
        assert answer("test -e /srv/run_cmd-was-heard; echo $?") == "1"
        assert answer("sudo systemctl is-active qemu-guest-agent") == "inactive"
        # the root file system has grown into the disk's 3 GiB
        assert int(answer("df --output=size -BM / | tail -n 1 | tr -d M")) > 2500
        assert answer("sudo systemctl start qemu-guest-agent; echo $?") == "0"
        terminal.type("exit")
        terminal.expect(r"first-guest login: ")

    stand.wait_for_condition("VirtualMachine", NAME, "AgentReady")
    address = stand.wait_for(
        lambda: stand.status("VirtualMachine", NAME).get("ipAddress", ""), "the guest's address"
    )
    assert address == "10.0.2.15"
    system = stand.wait_for(
        lambda: stand.status("VirtualMachine", NAME).get("guestOSInfo", {}), "the guest's system"
    )
    assert system["id"] == "debian"
