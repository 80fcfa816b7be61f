"""`<features>` and `<clock>`: what the guest's operating system expects of its hardware."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.model import Json
from agent.core.xml import Element, every
from agent.kinds.virtual_machine.elements.xml import attribute
from agent.kinds.virtual_machine.wanted import Wanted

EMULATED = ("relaxed", "vapic", "spinlocks", "runtime", "reset", "frequencies")
KVM_ONLY = ("vpindex", "synic", "stimer")
"""Enlightenments that only a kernel can give: QEMU does not start with them under emulation."""
_MORE = {"spinlocks": (("retries", "8191"),)}
"""What an enlightenment has to say beside that it is on."""
_WINDOWS_CLOCK = "localtime"


@dataclass(frozen=True)
class Features:
    hyperv: tuple[str, ...]
    """Hyper-V enlightenments, sorted."""
    clock: str
    """utc, or localtime as Windows reads its hardware clock."""

    @property
    def enlightenments(self) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
        """Their names and further attributes."""
        return tuple((name, _MORE.get(name, ())) for name in self.hyperv)

    @property
    def timers(self) -> tuple[str, ...]:
        return ("hypervclock",) if self.clock == _WINDOWS_CLOCK else ()


def expect(wanted: Wanted) -> Features:
    if wanted.spec["osType"] != "Windows":
        return Features((), "utc")
    names = EMULATED + (KVM_ONLY if wanted.node.virt_type == "kvm" else ())
    return Features(tuple(sorted(names)), _WINDOWS_CLOCK)


READS = ("features", "clock")


def read(root: Element) -> Features:
    tags = (
        feature.tag
        for feature in every(root, "features", "hyperv", "*")
        if feature.get("state") == "on"
    )
    return Features(tuple(sorted(str(tag) for tag in tags)), attribute(root, "clock", "offset"))


def plain(features: Features) -> dict[str, Json]:
    return {
        "features": {"hyperv": dict.fromkeys(features.hyperv, True)},
        "clock": {"offset": features.clock or None},
    }
