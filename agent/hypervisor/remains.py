"""What a copy of disks leaves in QEMU when libvirtd dies in the midst of it: libvirt forgets the
nodes by which QEMU reached the other host, and QEMU then refuses every further migration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import libvirt
import libvirt_qemu

from agent.core.model import Json

_PREFIX, _UPPER = "migration-", "-format"
"""How libvirt names such nodes; what is on top of another one ends with the latter."""


def in_the_way(error: libvirt.libvirtError) -> bool:
    """True if a migration was refused because of them."""
    return f"node-name='{_PREFIX}" in str(error)


def sweep(domain: libvirt.virDomain) -> None:
    """Take them out of a domain that no migration is under way of. What QEMU still uses stays."""
    for name in sorted(_nodes(domain), key=lambda name: not name.endswith(_UPPER)):
        _ask(domain, "blockdev-del", {"node-name": name})


def _nodes(domain: libvirt.virDomain) -> Iterator[str]:
    for node in _ask(domain, "query-named-block-nodes", {"flat": True}).get("return", ()):
        name = str(node.get("node-name", ""))
        if name.startswith(_PREFIX):
            yield name


def _ask(domain: libvirt.virDomain, command: str, arguments: Json) -> Json:
    """QEMU's answer; what it refuses is under `error`."""
    question = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(str(libvirt_qemu.qemuMonitorCommand(domain, question, 0)))
