"""What the page costs: the first look at many machines, a search, figures, and those who look."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.core.schema import Catalogue
from agent.gitrepo.local import LocalRepository
from agent.web.app import Site, application
from agent.web.collector import Terms
from agent.web.server import Address, Server, bound
from agent.web.source import Source
from tests.benchmarks.figures import Figure, cpu, median, resident, wall
from tests.fleets import Fleet, machine, whole

COUNT = 10_000
VIEWERS = 100
LOOKED = 20.0
"""Seconds for which they look."""


def page() -> Iterator[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    root = written(folder / "fleet.git")
    source = Source(lambda: LocalRepository(root), Terms(), Catalogue.load())
    listening = bound(Address("127.0.0.1", 0), None, insecure=False)
    port = listening.getsockname()[1]
    server = Server(application(Site(source)), listening)
    server.start()
    before = resident()
    yield Figure(f"first reading of {COUNT:,} VMs", wall(lambda: get(port, "/readyz")), "s")
    yield Figure("memory for it", resident() - before, "MiB")
    for address in ("/", "/vms"):
        taken = wall(lambda at=address: get(port, at))  # type: ignore[misc]
        yield Figure(f"first view of {address}", taken, "s", target=0.5)
        yield Figure(f"bytes of {address}", len(get(port, address)) / 1000, "KB", target=300)
    searches = iter(range(100))
    yield Figure(
        "a search",
        median(9, lambda: wall(lambda: get(port, f"/vms?q=0{next(searches):02}"))),
        "s",
        target=0.1,
    )
    yield Figure("sorted by a column", wall(lambda: get(port, "/vms?sort=IPADDRESS")), "s")
    yield Figure("one machine", wall(lambda: get(port, "/vms/team-007/vm-00707")), "s")
    yield Figure("metrics", median(3, lambda: wall(lambda: get(port, "/metrics"))), "s", target=0.3)
    yield from viewers(root, port)
    server.end()


def written(root: Path) -> Path:
    """A status branch of so many machines, each with a disk, in folders of a hundred."""
    fleet = Fleet(root)
    fleet.now = time.time()
    fleet.agent()
    for first in range(0, COUNT, 1_000):
        fleet.write(*(each for number in range(first, first + 1_000) for each in pair(number)))
    return root


def pair(number: int) -> Iterator[dict[str, Any]]:
    name, space = f"vm-{number:05}", f"team-{number // 100:03}"
    status = {"ipAddress": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"}
    labels = {"app": f"app-{number % 7}", "tier": "test" if number % 3 else "production"}
    yield machine(name, namespace=space, labels=labels, status=status)
    size = {"persistentVolumeClaim": {"size": "10Gi"}}
    done = {"phase": "Ready", "capacity": "10Gi", "progress": "100%"}
    yield whole("VirtualDisk", f"{name}-root", size, done, namespace=space)


def viewers(root: Path, port: int) -> Iterator[Figure]:
    """A commit a second while they look at the list; who writes and looks is another process."""
    other = (sys.executable, "-m", "tests.benchmarks.viewers")
    told = [str(value) for value in (root, port, VIEWERS, LOOKED)]
    spent: list[float] = []
    for number in (0, VIEWERS):
        told[2] = str(number)
        spent.append(cpu(lambda: subprocess.run([*other, *told], check=True)))
        time.sleep(1)
    yield Figure("CPU of a core, nobody looks", 100 * spent[0] / LOOKED, "%")
    yield Figure(f"CPU of a core, {VIEWERS} look", 100 * spent[1] / LOOKED, "%", target=2)


def get(port: int, address: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", address, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        return answer.read()
    finally:
        connection.close()
