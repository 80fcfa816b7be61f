"""What libvirt says, in words that people get to read."""

from __future__ import annotations

import libvirt
import pytest

from agent.hypervisor.errors import translate


def test_a_failure_reads_the_same_when_it_happens_again() -> None:
    said = {
        str(translate(libvirt.libvirtError(f"QEMU said {at}qemu-system-x86_64: no"), "start it"))
        for at in ("2026-11-27T22:51:53.123456Z ", "2026-11-27T22:51:54Z ", "")
    }
    assert said == {"cannot start it: QEMU said qemu-system-x86_64: no"}


@pytest.mark.parametrize(
    "why",
    [
        "stderr=failed to parse default acl file `/etc/qemu/bridge.conf'\n",
        "",
        "stderr=access denied by acl file\n",
    ],
)
def test_a_bridge_that_a_session_may_not_use_comes_with_the_commands_that_allow_it(
    why: str,
) -> None:
    said = translate(
        libvirt.libvirtError(
            "/usr/lib/qemu/qemu-bridge-helper --use-vnet --br=br9 --fd=26: failed to communicate with "
            f"bridge helper: {why}: Transport endpoint is not connected"
        ),
        "start it",
    )
    assert said.reason == "BridgeNotAllowed"
    assert "echo 'allow br9' | sudo tee -a /etc/qemu/bridge.conf" in str(said)
    assert "sudo chmod u+s /usr/lib/qemu/qemu-bridge-helper" in str(said)
