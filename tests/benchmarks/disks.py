"""What a guest reads and writes on a disk of ours, against the same guest in a domain as virt-install defines it."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import statistics
import subprocess
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from agent.core.domain_xml import has_agent
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests import rig
from tests.benchmarks.figures import Figure
from tests.benchmarks.live import running, until
from tests.benchmarks.snapshots import up
from tests.benchmarks.starting import commit, session, statuses
from tests.gitrepo.git import bare
from tests.hosts import reaping, remove_domains

ROUNDS = 7
MIB = 1 << 20
PIECE = 48 << 10
SIZE = 256 * MIB
PROGRAM = "/tmp/disk_io"
WORK = {
    "written in sequence": ("write", MIB, 256, 0),
    "read in sequence": ("read", MIB, 256, 0),
    "written at random": ("write", 4096, 1500, SIZE),
    "read at random": ("read", 4096, 1500, SIZE),
}
"""What is done, the bytes of a block, how many of them, and within how many bytes."""
_DISK = re.compile(r"\n *<disk .*</disk>", re.DOTALL)


def disk() -> Iterator[Figure]:
    """Both guests run all the time, and one of them works: each in turn, in a session of an ordinary user."""
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    with session() as own, reaping():
        host, virsh = own.open(), libvirt.open("qemu:///session")
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            disks = {"root": rig.disk("root", "128Mi"), "data": rig.disk("data", f"{SIZE}")}
            commit(repository, {f"{name}.yaml": each for name, each in disks.items()})
            until(lambda: disks.keys() <= statuses(repository))
            store(host, next(name for _, name in host.read_volumes(POOL) if "_root_" in name))
            vm = rig.machine(disks=("root", "data"), memory={"size": "160Mi"}, runPolicy="AlwaysOn")
            commit(repository, {"vm.yaml": vm})
            guests = {"ours": up(virsh, host)}
            guests["theirs"] = twin(virsh, host, guests["ours"])
            program = built(own.root)
            devices = {who: prepared(guest, program) for who, guest in guests.items()}
            for number in range(ROUNDS + 1):  # the first one only gives the disks their blocks
                for who in sorted(guests, reverse=bool(number % 2)):
                    for what, work in WORK.items():
                        os.sync()
                        took[what, who].append(worked(guests[who], devices[who], *work))
            guests["theirs"].destroy()
            guests["theirs"].undefine()
            remove_domains(host)
        virsh.close()
        host.close()
    yield from figures({key: times[1:] for key, times in took.items()})


def figures(took: dict[tuple[str, str], list[float]]) -> Iterator[Figure]:
    times = []
    for what, (_, block, count, _) in WORK.items():
        ours, theirs = (statistics.median(took[what, who]) for who in ("ours", "theirs"))
        rate = block * count / MIB
        yield Figure(f"{what}, in blocks of {block >> 10} KiB", rate / ours, "MiB/s")
        yield Figure(f"{what}, against a domain as of virt-install", theirs / ours, "times")
        times.append(theirs / ours)
    mean = math.prod(times) ** (1 / len(times))
    yield Figure("a guest's disk, against a domain as of virt-install", mean, "times", least=1.0)


def store(host: LibvirtHost, name: str, image: str = "GITVIRT_GUEST_IMAGE") -> None:
    """Have the small guest's image in a volume."""
    data = Path(os.environ[image]).read_bytes()
    host.delete_volume(POOL, name)
    host.create_volume(POOL, volume_xml(name, "raw", 0))
    host.upload_volume(POOL, name, iter([data]), len(data))


def twin(
    virsh: libvirt.virConnect, host: LibvirtHost, domain: libvirt.virDomain
) -> libvirt.virDomain:
    """The same machine with disks as virt-install gives them to it, and volumes of its own."""
    xml = str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    disks = ""
    for name, target in (("root", "vda"), ("data", "vdb")):
        path = host.create_volume(POOL, volume_xml(f"twin-{name}", "qcow2", SIZE)).path
        if name == "root":
            store(host, f"twin-{name}")
        disks += (
            f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/>"
            f"<source file='{path}'/><target dev='{target}' bus='virtio'/></disk>"
        )
    xml = _DISK.sub(disks, xml)
    xml = re.sub(r"<metadata>.*</metadata>", "", xml, flags=re.DOTALL)
    xml = xml.replace(domain.UUIDString(), str(uuid.uuid4())).replace(domain.name(), "twin")
    xml = re.sub(r"<mac address='[^']*'/>|<log file=[^>]*>", "", xml)
    made = virsh.defineXML(xml)
    made.create()
    return made


def built(folder: Path) -> bytes:
    program = folder / "disk_io"
    source = Path(__file__).with_name("disk_io.c")
    subprocess.run(["cc", "-O2", "-static", "-s", "-o", str(program), str(source)], check=True)
    return program.read_bytes()


def prepared(guest: libvirt.virDomain, program: bytes) -> str:
    """Have the program in a guest that is up; the device of its data there, by its size."""
    until(lambda: has_agent(guest.XMLDesc(0)), 0.1)
    handle = asked(guest, "guest-file-open", path=PROGRAM, mode="w")
    for start in range(0, len(program), PIECE):
        content = base64.b64encode(program[start : start + PIECE]).decode()
        asked(guest, "guest-file-write", **{"handle": handle, "buf-b64": content})
    asked(guest, "guest-file-close", handle=handle)
    shell(guest, f"chmod 755 {PROGRAM}")
    found = f"for at in /sys/block/[sv]d*; do [ $(cat $at/size) != {SIZE // 512} ] || echo /dev/${{at##*/}}; done"
    return shell(guest, found).split()[0]


def worked(guest: libvirt.virDomain, device: str, what: str, *numbers: int) -> float:
    """Seconds that it took the guest."""
    return float(shell(guest, " ".join(map(str, (PROGRAM, device, what, *numbers)))))


def shell(guest: libvirt.virDomain, command: str) -> str:
    """What a command prints in a guest."""
    words = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
    pid = asked(guest, "guest-exec", **words)["pid"]
    state: dict[str, Any] = {}

    def ended() -> bool:
        state.update(asked(guest, "guest-exec-status", pid=pid))
        return bool(state["exited"])

    until(ended, 0.05)
    if state["exitcode"]:
        raise RuntimeError(f"{command} failed in the guest: {state}")
    return base64.b64decode(state.get("out-data", "")).decode()


def asked(guest: libvirt.virDomain, command: str, **arguments: Any) -> Any:
    """What a guest's agent answers."""
    text = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(guest, text, 30, 0))["return"]
