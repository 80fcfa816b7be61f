"""`<vcpu>`, `<cpu>` and `<cputune>`."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.model import Json
from agent.core.xml import Element, every, first
from agent.kinds.virtual_machine.elements.xml import attribute, number, text
from agent.kinds.virtual_machine.resources import requested_milli
from agent.kinds.virtual_machine.topology import topology
from agent.kinds.virtual_machine.wanted import Wanted

LEAST_SHARES, MOST_SHARES = 2, 10000


@dataclass(frozen=True)
class Cpu:
    cores: int
    online: int
    """Cores that are plugged in: fewer where somebody unplugged some by hand."""
    sockets: int
    cores_per_socket: int
    mode: str
    model: str
    """Empty but for mode custom."""
    features: tuple[str, ...]
    """CPU flags that the guest must have, sorted."""
    shares: int
    """Weight against other domains, 100 for a whole core; 0 where the host has no CPU tuning."""

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        """Of `<cpu>`: a named model is taken as it is, without what a host would add."""
        model = (("match", "exact"), ("check", "none")) if self.model else ()
        return (("mode", self.mode), *model)


def expect(wanted: Wanted) -> Cpu:
    cpu = wanted.spec["cpu"]
    shape = topology(cpu["cores"])
    weight = requested_milli(cpu["cores"], cpu["coreFraction"]) // 10
    return Cpu(
        cores=cpu["cores"],
        online=cpu["cores"],
        sockets=shape.sockets,
        cores_per_socket=shape.cores_per_socket,
        mode=wanted.cpu.mode,
        model=wanted.cpu.model,
        features=wanted.cpu.features,
        shares=min(max(weight, LEAST_SHARES), MOST_SHARES) if wanted.node.cpu_tuning else 0,
    )


READS = ("vcpu", "cpu", "cputune")


def read(root: Element) -> Cpu:
    mode = attribute(root, "cpu", "mode")
    cores = text(root, "vcpu")
    shape = first(root, "cpu", "topology")
    return Cpu(
        cores=number(cores),
        online=number(attribute(root, "vcpu", "current") or cores),
        sockets=-1 if shape is None else number(shape.get("sockets", "")),
        cores_per_socket=-1 if shape is None else number(shape.get("cores", "")),
        mode=mode,
        model=text(root, "cpu/model") if mode == "custom" else "",
        features=tuple(
            sorted(feature.get("name", "") for feature in every(root, "cpu", "feature"))
        ),
        shares=max(number(text(root, "cputune/shares")), 0),
    )


def plain(cpu: Cpu) -> dict[str, Json]:
    """Cores that are all plugged in, spread as ever, are told by their number alone; any other
    topology is sockets by cores in each.
    """
    shape = topology(cpu.cores)
    usual = (shape.sockets, shape.cores_per_socket) == (cpu.sockets, cpu.cores_per_socket)
    return {
        "cpu": {
            "cores": cpu.cores,
            "topology": None if usual else f"{cpu.sockets}x{cpu.cores_per_socket}",
            "mode": cpu.mode or None,
            "model": cpu.model or None,
            "features": dict.fromkeys(cpu.features, True),
        },
        "vcpu": {"current": None if cpu.online == cpu.cores else cpu.online},
        "cputune": {"shares": cpu.shares or None},
    }
