"""An image of a disk, an image of that image, and a disk from a snapshot, from the push to the phase Ready, against a sparse copy
of the same disk by qemu-img.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt

from agent.core.identity import POOL
from agent.core.ledger import load
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure
from tests.benchmarks.live import running, until
from tests.benchmarks.snapshots import DATA, fill
from tests.benchmarks.starting import commit, session, statuses
from tests.gitrepo.git import bare
from tests.hosts import reaping
from tests.rig import STATUS, disk, manifest

ROUNDS = 4
"""An even number: a disk that has just taken a copy takes the next one more slowly, whosever that is."""
SNAPSHOT = manifest("VirtualDiskSnapshot", "before", {"virtualDiskName": "data"})


def image() -> Iterator[Figure]:
    """In alternated rounds, in a session of an ordinary user."""
    took: dict[str, list[float]] = defaultdict(list)
    with session() as own, reaping():
        host = own.open()
        virsh = libvirt.open("qemu:///session")
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            commit(repository, {"disk.yaml": disk("data", "2Gi")})
            until(lambda: "data" in statuses(repository))
            fill(virsh, host)
            push(repository, SNAPSHOT, "virtualdisksnapshots")
            for number in range(ROUNDS):
                for first in (number % 2, 1 - number % 2):  # neither is always behind the other
                    if first:
                        took["copy"].append(by_hand(host))
                        continue
                    for what, kind, source in (
                        ("of-disk", "VirtualImage", ("VirtualDisk", "data")),
                        ("of-image", "VirtualImage", ("VirtualImage", f"of-disk-{number}")),
                    ):
                        took[what].append(pushed(repository, kind, f"{what}-{number}", source))
                    forget(host)
                snapshot = "VirtualDiskSnapshot", "before"
                took["of-snapshot"].append(
                    pushed(repository, "VirtualDisk", f"of-snapshot-{number}", snapshot)
                )
                forget(host)
        virsh.close()
        host.close()
    mean = {what: statistics.mean(times) for what, times in took.items()}
    yield Figure(f"sparse copy of {DATA >> 20} MiB by qemu-img", mean["copy"], "s")
    for what, name, limit in (
        ("of-image", "an image of an image", 1.1),
        ("of-snapshot", "a disk from a snapshot", None),
        ("of-disk", "an image of a disk", 1.1),
    ):
        yield Figure(f"push to {name} that is ready", mean[what], "s")
        yield Figure(f"{name}, against the copy", mean[what] / mean["copy"], "times", limit)


def pushed(repository: LocalRepository, kind: str, name: str, source: tuple[str, str]) -> float:
    """As `push`, of what is made from another object: kind and name."""
    ref = dict(zip(("kind", "name"), source, strict=True))
    made = manifest(kind, name, {"dataSource": {"type": "ObjectRef", "objectRef": ref}})
    return push(repository, made, f"{kind.lower()}s")


def by_hand(host: LibvirtHost) -> float:
    """Seconds that qemu-img takes, and the host until all of it is on its disk."""
    (path,) = [volume.path for (_, name), volume in host.read_volumes(POOL).items() if _own(name)]
    target = Path(path).with_name("by-hand")
    os.sync()
    start = time.perf_counter()
    subprocess.run(["qemu-img", "convert", "-U", "-O", "qcow2", path, target], check=True)
    os.sync()
    took = time.perf_counter() - start
    target.unlink()
    return took


def _own(name: str) -> bool:
    return "_disk_default_data_" in name


def push(repository: LocalRepository, made: dict[str, Any], plural: str) -> float:
    """Seconds from the push to the phase Ready on the status branch, and all of it on the host's disk."""
    name = made["metadata"]["name"]
    path = f"namespaces/default/{plural}/{name}.yaml"

    def ready() -> bool:
        tip = repository.fetch().get(STATUS)
        data = repository.read_path(tip, path) if tip else None
        found = load(data) if data else None
        return bool(found and found.get("status", {}).get("phase") == "Ready")

    os.sync()  # what was written before does not count
    start = time.perf_counter()
    commit(repository, {f"{name}.yaml": made})
    until(ready, 0.01)
    os.sync()
    return time.perf_counter() - start


def forget(host: LibvirtHost) -> None:
    """Have what comes next store everything anew, and no copy be in the way of the next one."""
    for pool, name in list(host.read_volumes(POOL)):
        if not _own(name) and "snapshot" not in name:
            host.delete_volume(pool, name)
