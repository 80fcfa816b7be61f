"""`<memory>` and `<currentMemory>`."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.model import Json
from agent.core.quantity import format_bytes, to_bytes
from agent.core.xml import Element
from agent.kinds.virtual_machine.elements.xml import kibibytes
from agent.kinds.virtual_machine.wanted import Wanted

MIB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """Guest memory in KiB."""

    size: int
    current: int


def expect(wanted: Wanted) -> Memory:
    # libvirt rounds the running copy up to whole MiB; doing so at once keeps both copies alike
    mib = -(-to_bytes(wanted.spec["memory"]["size"]) // MIB)
    return Memory(mib * 1024, mib * 1024)


READS = ("memory", "currentMemory")


def read(root: Element) -> Memory:
    return Memory(kibibytes(root, "memory"), kibibytes(root, "currentMemory"))


def plain(memory: Memory) -> dict[str, Json]:
    return {"memory": {"size": _size(memory.size)}, "currentMemory": _size(memory.current)}


def _size(kib: int) -> str:
    return format_bytes(kib * 1024) if kib >= 0 else "unreadable"
