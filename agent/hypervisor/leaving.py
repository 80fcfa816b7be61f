"""What is asked of a host before a machine that is off leaves it. Functions here may raise
libvirtError; HostError where they know better.
"""

from __future__ import annotations

import libvirt

from agent.core.model import Json
from agent.hypervisor.storage import get_volume, refresh
from agent.hypervisor.verbs import find
from agent.hypervisor.xml import parse, text_at


def changed(connection: libvirt.virConnect, pool_name: str, name: str) -> str:
    """To the nanosecond, as libvirt says it; of what is no file it does not."""
    refresh(connection.storagePoolLookupByName(pool_name))
    volume = get_volume(connection, pool_name, name)
    info: Json = volume.info()
    return f"{info[2]} {text_at(parse(volume.XMLDesc(0)), 'target/timestamps/mtime')}"


def snapshots(connection: libvirt.virConnect, uuid: str) -> int:
    domain = find(connection, uuid)
    if domain is None:
        return 0
    return int(domain.snapshotNum(0)) + len(domain.listAllCheckpoints(0))
