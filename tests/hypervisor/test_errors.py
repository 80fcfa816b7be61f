"""What libvirt says, in words that people get to read."""

from __future__ import annotations

import libvirt

from agent.hypervisor.errors import translate


def test_a_failure_reads_the_same_when_it_happens_again() -> None:
    said = {
        str(translate(libvirt.libvirtError(f"QEMU said {at}qemu-system-x86_64: no"), "start it"))
        for at in ("2026-11-27T22:51:53.123456Z ", "2026-11-27T22:51:54Z ", "")
    }
    assert said == {"cannot start it: QEMU said qemu-system-x86_64: no"}
