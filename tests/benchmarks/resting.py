"""An agent in a process that holds nothing else, for `idle`: prints what it measures, as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

from agent.core.host import Reading
from agent.core.identity import POOL
from agent.hypervisor.host import LibvirtHost
from agent.loop import LULL, TRIM_EVERY
from tests.benchmarks.figures import Figure, peak, resident
from tests.benchmarks.live import running, until
from tests.memory_host import NODE

SECONDS = 60.0
FOREIGN = "test"
"""The domain that the test driver has from the start."""


class Able(LibvirtHost):
    """The test driver tells no capabilities: those of a host that can do all that is asked."""

    def read(self, pools: frozenset[str]) -> Reading:
        return replace(super().read(pools), node=replace(NODE, name=self.name))


def resting(uri: str, root: Path, folder: Path, machines: int) -> Iterator[Figure]:
    host = Able("bench", uri)

    def ready() -> bool:
        domains = host.read(frozenset({POOL})).domains.values()
        ours = [each.active for each in domains if each.name != FOREIGN]
        return len(ours) == machines and all(ours)

    with running(folder, root, host) as agent:
        spent = until(lambda: agent.reconciler.summary().settled and ready(), 0.5)
        yield Figure(f"{machines:,} VMs made and started", spent, "s")
        yield Figure("memory on the way, at most", peak(), "MiB")
        time.sleep(TRIM_EVERY + 2 * LULL)
        start, cpu = time.perf_counter(), time.process_time()
        time.sleep(SECONDS)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        yield Figure("share of a core while idle", share * 100, "%", 1)
        yield Figure("memory while idle", resident(), "MiB", 150)
    host.close()


if __name__ == "__main__":
    for figure in resting(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])):
        print(json.dumps(astuple(figure)), flush=True)
