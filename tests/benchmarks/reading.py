"""Reading a host, against bare libvirt-python calls for the same domains."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import libvirt

from agent.core.facts import Engine
from agent.core.identity import POOL
from agent.core.schema import Catalogue, Kind
from agent.hypervisor.host import LibvirtHost
from agent.kinds.registry import ORDER
from agent.kinds.virtual_machine.seen import seen
from agent.loop import Loop
from agent.reconcile.world import FullRead, World
from tests.benchmarks.figures import Figure, cpu, median
from tests.benchmarks.fleet import steady

DOMAINS = 1_000
_NODE = """<node><memory>1073741824</memory>
<cpu><nodes>1</nodes><sockets>1</sockets><cores>64</cores><threads>1</threads></cpu>{domains}</node>"""


def full_read() -> Iterator[Figure]:
    """A full read of running domains of libvirt's test driver, each against bare calls right before it; cold: a new agent
    that reads what they say.
    """
    Loop()  # with the agent's way to collect garbage
    uri = f"test://{node(DOMAINS)}"
    rules = Catalogue.load().machine
    with libvirt.open(uri) as connection:
        calls = partial(bare, connection)
        yield Figure(
            f"CPU of bare calls, {DOMAINS:,} domains", median(5, lambda: cpu(calls)) * 1e3, "ms"
        )
        host = LibvirtHost("bench", uri)
        host.ensure_pool(POOL)
        cold_times = median(5, lambda: times(partial(meant, host, rules), calls))
        world = World(Engine(ORDER, {}), "default")
        again = partial(look, host, world)
        again()
        warm_times = median(9, lambda: times(again, calls))
        host.close()
    yield Figure("full read, nothing changed, against bare calls", warm_times, "times", 1.2)
    yield Figure("full read, cold, against bare calls", cold_times, "times", 3)


def times(work: Callable[[], object], calls: Callable[[], object]) -> float:
    """How many times as long the work takes as the calls."""
    return cpu(work) / cpu(calls)


def look(host: LibvirtHost, world: World) -> None:
    world.observe(FullRead(0, host.read(frozenset({POOL}))))


def meant(host: LibvirtHost, rules: Kind) -> None:
    """Read all, and what each definition means."""
    world = World(Engine(ORDER, {}), "default")
    look(host, world)
    for raw in world.all_domains():
        seen(raw, rules)


def bare(connection: libvirt.virConnect) -> int:
    """What it takes to know each domain: its state, whether it is running, and its definitions."""
    size = 0
    for flag in (
        libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE,
        libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
    ):
        size += len(connection.listAllDomains(flag))
    for domain, _ in connection.getAllDomainStats(
        libvirt.VIR_DOMAIN_STATS_STATE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    ):
        inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        size += len(inactive) + len(domain.XMLDesc(0)) + len(domain.UUIDString()) + domain.ID()
    return size


def node(count: int) -> Path:
    """A file for the test driver, with running domains as the agent defines them."""
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    rig = steady(folder, count)
    file = folder / "node.xml"
    domains = "".join(raw.inactive_xml for raw in rig.host._domains.values())
    file.write_text(_NODE.format(domains=domains))
    return file
