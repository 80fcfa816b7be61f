"""Many new machines at once, against a bare loop over the same volumes and definitions. The loop has
libvirt look at each definition, as the agent does: that takes two thirds of what defining costs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import libvirt

from agent.assemble import Agent
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
ROUNDS = 5
URI = "qemu:///session"
TWIN = "twin"


def push_to_defined() -> Iterator[Figure]:
    """A push of machines with a blank disk each until all are defined; a session of an ordinary user."""
    with session() as own:
        host = own.open()
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host) as agent, LocalRepository(root) as repository:
            commit(repository, {"start.yaml": disk("first")})
            until(lambda: "first" in statuses(repository))
            rounds = [measured(agent, host, repository, number) for number in range(ROUNDS)]
            remove_domains(host)
        host.close()
    ours, loop = (statistics.median(times) for times in zip(*rounds, strict=True))
    times = statistics.median(agent_time / loop_time for agent_time, loop_time in rounds)
    yield Figure(f"bare loop: {MACHINES} blank volumes and validated definitions", loop, "s")
    yield Figure(f"push to defined, {MACHINES} machines with a blank disk each", ours, "s")
    yield Figure("push to defined, against the bare loop", times, "times", 1.2)


def measured(
    agent: Agent, host: LibvirtHost, repository: LocalRepository, number: int
) -> tuple[float, float]:
    """Seconds of the agent, and of a loop that does the same right after it has come to rest."""
    names = [f"vm-{number}-{each}" for each in range(MACHINES)]
    ours = wall(lambda: pushed(repository, names))
    until(lambda: agent.reconciler.summary().settled, 0.1)
    twins = definitions(host, names)
    loop = wall(lambda: by_hand(twins))
    for name in names:
        host.undefine(twin_uuid(name))
    return ours, loop


def pushed(repository: LocalRepository, names: list[str]) -> None:
    """Commit all of them in one file each, and wait for the last domain."""
    with libvirt.open(URI) as connection:
        before = connection.numOfDefinedDomains()
        commit(
            repository,
            {
                f"{name}.yaml": [disk(name), machine(name, disks=(name,), runPolicy="AlwaysOff")]
                for name in names
            },
        )
        until(lambda: connection.numOfDefinedDomains() == before + len(names), 0.02)


def definitions(host: LibvirtHost, names: list[str]) -> list[tuple[str, str]]:
    """A twin of each machine: its volume's name and its domain's XML."""
    found = []
    for name in names:
        raw = host.read_domain(domain_uuid("default", Key("VirtualMachine", "default", name)))
        assert raw is not None
        xml = raw.inactive_xml.replace(raw.uuid, twin_uuid(name)).replace(
            f"default.{name}<", f"default.{TWIN}-{name}<"
        )
        found.append((f"{TWIN}-{name}.qcow2", xml))
    return found


def twin_uuid(name: str) -> str:
    return domain_uuid("default", Key("VirtualMachine", "default", f"{TWIN}-{name}"))


def by_hand(twins: list[tuple[str, str]]) -> None:
    with libvirt.open(URI) as connection:
        pool = connection.storagePoolLookupByName(POOL)
        for name, xml in twins:
            pool.createXML(volume_xml(name, "qcow2", 1 << 30), 0)
            connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
