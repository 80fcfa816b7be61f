"""`<features>` and `<clock>`: what the guest's operating system expects of its hardware."""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute
from agent.kinds.virtual_machine.wanted import Wanted

EMULATED = ("relaxed", "vapic", "spinlocks", "runtime", "reset", "frequencies")
KVM_ONLY = ("vpindex", "synic", "stimer")
"""Enlightenments that only a kernel can give: QEMU does not start with them under emulation."""


@dataclass(frozen=True)
class Features:
    hyperv: tuple[str, ...]
    """Hyper-V enlightenments, sorted."""
    clock: str
    """utc, or localtime as Windows reads its hardware clock."""


def expect(wanted: Wanted) -> Features:
    if wanted.spec["osType"] != "Windows":
        return Features((), "utc")
    names = EMULATED + (KVM_ONLY if wanted.node.virt_type == "kvm" else ())
    return Features(tuple(sorted(names)), "localtime")


def read(root: Element) -> Features:
    found = (each.tag for each in root.iterfind("features/hyperv/*") if each.get("state") == "on")
    return Features(tuple(sorted(str(tag) for tag in found)), attribute(root, "clock", "offset"))
