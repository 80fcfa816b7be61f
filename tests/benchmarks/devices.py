"""A disk that is attached to a running machine, and one that grows, from the push until libvirt shows it, against the bare calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import libvirt

from agent.core.domain_xml import parse
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure, wall
from tests.benchmarks.live import running, until
from tests.benchmarks.snapshots import up
from tests.benchmarks.starting import commit, session, statuses
from tests.gitrepo.git import bare
from tests.hosts import reaping, remove_domains
from tests.rig import disk, machine, manifest

ROUNDS = 7
KIND = "VirtualMachineBlockDeviceAttachment"
GIB = 1 << 30
TIMES, MORE = 1.3, 0.15
"""What the agent may take at most: so many times the bare call, and so many seconds more."""


@dataclass
class Bench:
    host: LibvirtHost
    repository: LocalRepository
    domain: libvirt.virDomain

    def disks(self) -> int:
        """How many the machine has."""
        return str(self.domain.XMLDesc(0)).count("<disk ")

    def size(self, name: str) -> int:
        """Bytes of a disk of ours, as the machine has it."""
        volume = next(path for path in self.paths() if f"_{name}_" in path)
        return int(self.domain.blockInfo(volume)[0])

    def paths(self) -> list[str]:
        disks = parse(self.domain.XMLDesc(0)).iterfind("devices/disk/source")
        return [each.get("file", "") for each in disks]

    def volume(self, number: int) -> str:
        """Path of a new one."""
        return self.host.create_volume(POOL, volume_xml(f"hand-{number}", "qcow2", GIB)).path

    def by_hand(self, path: str, number: int) -> str:
        """Attach a disk by a bare call; its target."""
        target = f"sdz{chr(ord('a') + number)}"
        xml = (
            f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
            f"<target dev='{target}' bus='scsi'/><serial>hand{number}</serial>"
            f"<address type='drive' controller='0' bus='0' target='0' unit='{100 + number}'/></disk>"
        )
        self.domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return target


@contextmanager
def machine_up() -> Iterator[Bench]:
    """A machine that runs, with a disk for each round beside it, in a session of an ordinary user."""
    with session() as own, reaping():
        host, virsh = own.open(), libvirt.open("qemu:///session")
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            disks = {f"d{number}": disk(f"d{number}") for number in range(ROUNDS)}
            files = {f"{name}.yaml": each for name, each in disks.items()}
            vm = [disk("root"), machine(memory={"size": "64Mi"})]
            commit(repository, {**files, "vm.yaml": vm})
            until(lambda: disks.keys() <= statuses(repository))
            yield Bench(host, repository, up(virsh, host))
            remove_domains(host)
        virsh.close()
        host.close()


def attach() -> Iterator[Figure]:
    with machine_up() as bench:
        rounds = [attached(bench, number) for number in range(ROUNDS)]
    yield from figures("a disk attached", rounds)


def attached(bench: Bench, number: int) -> tuple[float, float]:
    """Seconds of the bare call, and from the push."""
    path = bench.volume(number)
    call = wall(lambda: bench.by_hand(path, number))
    before = bench.disks()
    ref = {"kind": "VirtualDisk", "name": f"d{number}"}
    plug = manifest(KIND, f"plug-{number}", {"blockDeviceRef": ref, "virtualMachineName": "vm"})
    return call, pushed(bench, f"plug-{number}.yaml", plug, lambda: bench.disks() > before)


def grow() -> Iterator[Figure]:
    with machine_up() as bench:
        target = bench.by_hand(bench.volume(0), 0)
        rounds = [grown(bench, target, size) for size in range(2, ROUNDS + 2)]
    yield from figures("a disk grown", rounds)


def grown(bench: Bench, target: str, size: int) -> tuple[float, float]:
    """As of one attached."""
    in_bytes = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
    call = wall(lambda: bench.domain.blockResize(target, size * GIB, in_bytes))
    vm = [disk("root", f"{size}Gi"), machine(memory={"size": "64Mi"})]
    return call, pushed(bench, "vm.yaml", vm, lambda: bench.size("root") == size * GIB)


def pushed(bench: Bench, path: str, content: object, holds: Callable[[], bool]) -> float:
    """Seconds from the push until it holds."""
    start = time.perf_counter()
    commit(bench.repository, {path: content})
    until(holds)
    return time.perf_counter() - start


def figures(what: str, rounds: list[tuple[float, float]]) -> Iterator[Figure]:
    call, push = (statistics.median(each) for each in zip(*rounds, strict=True))
    yield Figure(f"bare call: {what}", call, "s")
    yield Figure(f"push to {what}", push, "s", TIMES * call + MORE)
