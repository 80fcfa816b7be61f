"""An agent that has nothing to do."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agent.core.host import Reading
from agent.core.identity import POOL
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from agent.loop import LULL, TRIM_EVERY
from tests.benchmarks.figures import Figure, peak, resident
from tests.benchmarks.fleet import push
from tests.benchmarks.live import running, until
from tests.gitrepo.git import bare
from tests.memory_host import NODE

MACHINES = 1_000
SECONDS = 60.0
_NODE = """<node><memory>1073741824</memory>
<cpu><nodes>1</nodes><sockets>1</sockets><cores>64</cores><threads>1</threads></cpu></node>"""


_ALONE = """
import ctypes, sys
import libvirt
from tests.benchmarks.figures import resident
before = resident()
connection = libvirt.open(sys.argv[1])
ctypes.CDLL(None).malloc_trim(0)
print(resident() - before)
"""


class Able(LibvirtHost):
    """The test driver tells no capabilities: those of a host that can do all that is asked."""

    def read(self, pools: frozenset[str]) -> Reading:
        return replace(super().read(pools), node=replace(NODE, name=self.name))


def idle() -> Iterator[Figure]:
    """CPU and memory beside running VMs of libvirt's test driver, which lives in the same process."""
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    root = bare(folder / "repository")
    (folder / "node.xml").write_text(_NODE)
    with LocalRepository(root) as repository:
        push(repository, MACHINES)
    host = Able("bench", f"test://{folder / 'node.xml'}")
    with running(folder / "data", root, host) as agent:
        spent = until(lambda: agent.reconciler.summary().settled and ready(host), 0.5)
        yield Figure(f"{MACHINES:,} VMs made and started", spent, "s")
        yield Figure("memory on the way, at most", peak(), "MiB")
        time.sleep(TRIM_EVERY + 2 * LULL)
        start, cpu = time.perf_counter(), time.process_time()
        time.sleep(SECONDS)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        yield Figure("share of a core while idle", share * 100, "%", 1)
        memory = resident()
        yield Figure("memory while idle", memory, "MiB", 150)
        driver = alone(folder, host)
        yield Figure("memory that the test driver takes alone", driver, "MiB")
        yield Figure("memory while idle, without the test driver's", memory - driver, "MiB", 150)
    host.close()


def alone(folder: Path, host: LibvirtHost) -> float:
    """MiB that the same domains take in a process that does nothing else."""
    file = folder / "alone.xml"
    domains = host.read(frozenset()).domains.values()
    file.write_text(
        _NODE.replace("</node>", "".join(each.inactive_xml for each in domains) + "</node>")
    )
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, f"test://{file}"], stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout)


def ready(host: LibvirtHost) -> bool:
    domains = host.read(frozenset({POOL})).domains
    return len(domains) == MACHINES and all(each.active for each in domains.values())
