"""A snapshot of a running machine's disk, from the push to its phase Ready, against libvirt's bare backup of the same disk."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt

from agent.core.domain_xml import parse
from agent.core.identity import POOL, domain_uuid
from agent.core.ledger import load
from agent.core.model import Key
from agent.core.volumes import volume_xml
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure
from tests.benchmarks.live import running, until
from tests.benchmarks.starting import commit, session, statuses
from tests.gitrepo.git import bare
from tests.hosts import reaping, remove_domains
from tests.rig import STATUS, disk, machine, manifest

ROUNDS = 4
DATA = 1 << 30
"""Bytes that the disk holds."""
CHUNK = 1 << 20


def snapshot() -> Iterator[Figure]:
    """In alternated rounds, in a session of an ordinary user. The guest has no agent to be waited for."""
    with session() as own, reaping():
        host = own.open()
        virsh = libvirt.open("qemu:///session")
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            commit(repository, {"disk.yaml": disk("data", "2Gi")})
            until(lambda: "data" in statuses(repository))
            fill(virsh, host)
            commit(repository, {"vm.yaml": machine(disks=("data",), memory={"size": "64Mi"})})
            domain = up(virsh, host)
            ours, theirs = [], []
            for number in range(ROUNDS):
                for first in (number % 2, 1 - number % 2):  # neither is always behind the other
                    os.sync()  # what the one has written is not the other's to wait for
                    if first:
                        ours.append(taken(repository, number))
                    else:
                        theirs.append(by_hand(domain, host, number))
                commit(repository, {f"{number}.yaml": None})
                for pool, name in list(host.read_volumes(POOL)):
                    if "snapshot" in name or "by-hand" in name:
                        host.delete_volume(pool, name)
            remove_domains(host)
        virsh.close()
        host.close()
    push, call = statistics.median(ours), statistics.median(theirs)
    yield Figure(f"bare backup of {DATA >> 20} MiB", call, "s")
    yield Figure("push to a snapshot that is ready", push, "s")
    yield Figure("push to ready, against the bare backup", push / call, "times", 1.1)


def fill(virsh: libvirt.virConnect, host: LibvirtHost) -> None:
    """Have a disk that holds data: written by a copy of a file of it."""
    ((pool, name),) = [key for key in host.read_volumes(POOL) if "_disk_" in key[1]]
    path = Path(host.read_volumes(POOL)[pool, name].path)
    host.delete_volume(pool, name)
    source = path.with_name("source.raw")
    with source.open("wb") as file:
        for number in range(DATA // CHUNK):
            file.write(bytes([number % 251 + 1]) * CHUNK)
        file.truncate(2 << 30)
    storage = virsh.storagePoolLookupByName(pool)
    storage.refresh(0)
    storage.createXMLFrom(
        volume_xml(name, "qcow2", 2 << 30), storage.storageVolLookupByName(source.name), 0
    )
    source.unlink()


def up(virsh: libvirt.virConnect, host: LibvirtHost) -> libvirt.virDomain:
    uuid = domain_uuid("default", Key("VirtualMachine", "default", "vm"))

    def runs() -> bool:
        raw = host.read_domain(uuid)
        return raw is not None and raw.state == "running"

    until(runs)
    return virsh.lookupByUUIDString(uuid)


def by_hand(domain: libvirt.virDomain, host: LibvirtHost, number: int) -> float:
    """Seconds from the call to the end of its job."""
    target = host.create_volume(POOL, volume_xml(f"by-hand-{number}", "qcow2", 2 << 30)).path
    disks = []
    for each in parse(domain.XMLDesc(0)).iterfind("devices/disk"):
        dev = each.find("target")
        assert dev is not None
        is_data = each.find("serial") is not None and each.find("readonly") is None
        inner = f"<target file='{target}'/><driver type='qcow2'/>" if is_data else ""
        wanted = "yes' type='file" if is_data else "no"
        disks.append(f"<disk name='{dev.get('dev')}' backup='{wanted}'>{inner}</disk>")
    xml = f"<domainbackup mode='push'><disks>{''.join(disks)}</disks></domainbackup>"
    flags = libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
    none: Any = None
    start = time.perf_counter()
    domain.backupBegin(xml, none, flags)

    def ended() -> bool:
        stats: Any = domain.jobStats(0)
        return bool(stats.get("type") == libvirt.VIR_DOMAIN_JOB_NONE)

    until(ended, 0.01)
    return time.perf_counter() - start


def taken(repository: LocalRepository, number: int) -> float:
    """Seconds from the push to the phase Ready on the status branch."""
    name = f"snap-{number}"
    spec = {"virtualDiskName": "data", "requiredConsistency": False}
    path = f"namespaces/default/virtualdisksnapshots/{name}.yaml"

    def ready() -> bool:
        tip = repository.fetch().get(STATUS)
        data = repository.read_path(tip, path) if tip else None
        found = load(data) if data else None
        return bool(found and found.get("status", {}).get("phase") == "Ready")

    start = time.perf_counter()
    commit(repository, {f"{number}.yaml": manifest("VirtualDiskSnapshot", name, spec)})
    until(ready, 0.01)
    return time.perf_counter() - start
