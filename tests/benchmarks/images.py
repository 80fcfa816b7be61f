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

ROUNDS = 3
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
                took["copy"].append(by_hand(host))
                for what, kind, source in (
                    ("of-disk", "VirtualImage", ("VirtualDisk", "data")),
                    ("of-image", "VirtualImage", ("VirtualImage", f"of-disk-{number}")),
                    ("of-snapshot", "VirtualDisk", ("VirtualDiskSnapshot", "before")),
                ):
                    made = manifest(kind, f"{what}-{number}", {"dataSource": of(*source)})
                    took[what].append(push(repository, made, f"{kind.lower()}s"))
                forget(host)
        virsh.close()
        host.close()
    median = {what: statistics.median(times) for what, times in took.items()}
    yield Figure(f"sparse copy of {DATA >> 20} MiB by qemu-img", median["copy"], "s")
    for what, name, limit in (
        ("of-image", "an image of an image", 1.1),
        ("of-snapshot", "a disk from a snapshot", None),
        ("of-disk", "an image of a disk", None),
    ):
        yield Figure(f"push to {name} that is ready", median[what], "s")
        yield Figure(f"{name}, against the copy", median[what] / median["copy"], "times", limit)


def of(kind: str, name: str) -> dict[str, Any]:
    return {"type": "ObjectRef", "objectRef": {"kind": kind, "name": name}}


def by_hand(host: LibvirtHost) -> float:
    """Seconds that qemu-img takes."""
    (path,) = [volume.path for (_, name), volume in host.read_volumes(POOL).items() if _own(name)]
    target = Path(path).with_name("by-hand")
    os.sync()
    start = time.perf_counter()
    subprocess.run(["qemu-img", "convert", "-U", "-O", "qcow2", path, target], check=True)
    took = time.perf_counter() - start
    target.unlink()
    return took


def _own(name: str) -> bool:
    return "_disk_default_data_" in name


def push(repository: LocalRepository, made: dict[str, Any], plural: str) -> float:
    """Seconds from the push to the phase Ready on the status branch."""
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
    return time.perf_counter() - start


def forget(host: LibvirtHost) -> None:
    """Have the next round store everything anew."""
    for pool, name in list(host.read_volumes(POOL)):
        if not _own(name) and "snapshot" not in name:
            host.delete_volume(pool, name)
