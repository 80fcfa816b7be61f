"""What a VM asks of its host, in numbers and as Kubernetes prints them."""

from __future__ import annotations

from agent.core.model import Json
from agent.core.quantity import format_milli
from agent.kinds.virtual_machine.spec import Cpu
from agent.kinds.virtual_machine.topology import topology


def requested_milli(cores: int, fraction: str) -> int:
    """Guaranteed CPU in thousandths of a core."""
    percent = 100 if fraction == "Auto" else int(fraction.rstrip("%"))
    return cores * percent * 10


def resources(cpu: Cpu, memory: str) -> dict[str, Json]:
    """`.status.resources` of one instance."""
    shape = topology(cpu["cores"])
    return {
        "cpu": {
            "coreFraction": cpu["coreFraction"],
            "cores": cpu["cores"],
            "requestedCores": format_milli(requested_milli(cpu["cores"], cpu["coreFraction"])),
            "runtimeOverhead": "0",
            "topology": {"sockets": shape.sockets, "coresPerSocket": shape.cores_per_socket},
        },
        "memory": {"runtimeOverhead": "0", "size": memory},
    }
