"""Many new machines at once, against a bare loop over the same volumes and definitions."""

from __future__ import annotations

import os
from collections.abc import Iterator

import libvirt

from agent.core.identity import POOL, domain_uuid
from agent.core.model import Key
from agent.core.volumes import volume_xml
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure, wall
from tests.benchmarks.live import running, until
from tests.benchmarks.starting import commit, session, statuses
from tests.gitrepo.git import bare
from tests.hosts import remove_domains
from tests.rig import disk, machine

MACHINES = 100
URI = "qemu:///session"
TWIN = "twin"


def push_to_defined() -> Iterator[Figure]:
    """A push of machines with a blank disk each until all are defined; a session of an ordinary user."""
    if os.geteuid() == 0:
        raise SystemExit(
            "root has no libvirt session: start this one as an ordinary user, as tests/run.sh does"
        )
    with session() as own:
        host = own.open()
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            commit(repository, {"start.yaml": disk("first")})
            until(lambda: "first" in statuses(repository))
            ours = wall(lambda: pushed(repository))
            loop = wall(lambda: by_hand(definitions(host)))
            remove_domains(host)
        host.close()
    yield Figure(f"bare loop: {MACHINES} blank volumes and definitions", loop, "s")
    yield Figure(f"push to defined, {MACHINES} machines with a blank disk each", ours, "s")
    yield Figure("push to defined, against the bare loop", ours / loop, "times", 1.2)


def names() -> list[str]:
    return [f"vm-{number}" for number in range(MACHINES)]


def pushed(repository: LocalRepository) -> None:
    """Commit all of them in one file each, and wait for the last domain."""
    commit(
        repository,
        {
            f"{name}.yaml": [disk(name), machine(name, disks=(name,), runPolicy="AlwaysOff")]
            for name in names()
        },
    )
    with libvirt.open(URI) as connection:
        until(lambda: connection.numOfDefinedDomains() == MACHINES, 0.02)


def definitions(host: LibvirtHost) -> list[tuple[str, str]]:
    """A twin of each machine: its volume's name and its domain's XML."""
    found = []
    for name in names():
        raw = host.read_domain(domain_uuid("default", Key("VirtualMachine", "default", name)))
        assert raw is not None
        twin = domain_uuid("default", Key("VirtualMachine", "default", f"{TWIN}-{name}"))
        xml = raw.inactive_xml.replace(raw.uuid, twin).replace(
            f"default.{name}<", f"default.{TWIN}-{name}<"
        )
        found.append((f"{TWIN}-{name}.qcow2", xml))
    return found


def by_hand(twins: list[tuple[str, str]]) -> None:
    with libvirt.open(URI) as connection:
        pool = connection.storagePoolLookupByName(POOL)
        for name, xml in twins:
            pool.createXML(volume_xml(name, "qcow2", 1 << 30), 0)
            connection.defineXML(xml)
