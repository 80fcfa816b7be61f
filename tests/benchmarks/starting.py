"""From a push to a running guest, against bare libvirt-python calls that make the same one."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

from agent.core.host import HostEvent
from agent.core.identity import POOL, domain_uuid
from agent.core.ledger import load
from agent.core.model import Key
from agent.core.volumes import volume_xml
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure, wall
from tests.benchmarks.live import PATIENCE, running, until
from tests.gitrepo.git import bare
from tests.hosts import Session, end_process, reaping, remove_domains
from tests.rig import MAIN, STATUS, disk, encoded, machine

ROUNDS = 7
FOLDERS = {
    "RUNTIME_DIR": "run",
    "CONFIG_HOME": "config",
    "DATA_HOME": "data",
    "CACHE_HOME": "cache",
}


def push_to_running() -> Iterator[Figure]:
    """Push to running QEMU, an immediate change to live, a crash to running again; a session of an ordinary user."""
    with session() as own, reaping():
        host = own.open()
        root = bare(own.root / "repository")
        with running(own.root / "agent", root, host), LocalRepository(root) as repository:
            commit(repository, {"start.yaml": disk("first")})
            until(lambda: "first" in statuses(repository))
            agent_times, change_times = [], []
            bare_times, create_times = [], []
            for number in range(ROUNDS):
                agent_times.append(started(host, repository, number))
                change_times.append(labelled(host, repository, number))
                whole, create = by_hand(host, number)
                bare_times.append(whole)
                create_times.append(create)
            crash_times = [crashed(own, host, number) for number in range(ROUNDS)]
            remove_domains(host)
        host.close()
    ours, bare_calls = statistics.median(agent_times), statistics.median(bare_times)
    again, create = statistics.median(crash_times), statistics.median(create_times)
    yield Figure("bare calls: overlay, define, start", bare_calls, "s")
    yield Figure("push to running", ours, "s")
    yield Figure("push to running, more than bare calls", ours - bare_calls, "s", 0.15)
    yield Figure("crash to running again", again, "s")
    yield Figure("crash to running again, more than a bare start", again - create, "s", 1)
    yield Figure("push of an immediate change to live", statistics.median(change_times), "s", 0.3)


@contextmanager
def session() -> Iterator[Session]:
    if os.geteuid() == 0:
        raise SystemExit(
            "root has no libvirt session: start this one as an ordinary user, as tests/run.sh does"
        )
    own = Session(Path(tempfile.mkdtemp(prefix="gv")))
    for name, folder in FOLDERS.items():
        (own.root / folder).mkdir(mode=0o700)
        os.environ[f"XDG_{name}"] = str(own.root / folder)
    try:
        yield own
    finally:
        own.end()
        shutil.rmtree(own.root, ignore_errors=True)


def commit(repository: LocalRepository, files: dict[str, Any]) -> None:
    changes = {path: encoded(value) for path, value in files.items()}
    repository.commit(MAIN, repository.fetch().get(MAIN), changes, "change")


def statuses(repository: LocalRepository) -> set[str]:
    """Names of disks that are ready."""
    tip = repository.fetch().get(STATUS)
    found = set()
    for file in repository.files(tip) if tip else ():
        if "/virtualdisks/" in file.path:
            value = load(repository.read(file.blob)) or {}
            if value.get("status", {}).get("phase") == "Ready":
                found.add(value["metadata"]["name"])
    return found


class Awaited:
    """Becomes true by a look at the host after an event of one domain."""

    def __init__(self, host: LibvirtHost, uuid: str) -> None:
        self._uuid = uuid
        self._seen = threading.Event()
        host.subscribe(self._happened)

    def _happened(self, event: HostEvent) -> None:
        if event.uuid == self._uuid:
            self._seen.set()

    def wait(self, holds: Any) -> None:
        while not holds():
            if not self._seen.wait(PATIENCE):
                raise TimeoutError("never came true")
            self._seen.clear()


def started(host: LibvirtHost, repository: LocalRepository, number: int) -> float:
    """Seconds from a push of a VM with a disk until libvirt says that it runs."""
    name = f"vm-{number}"
    uuid = domain_uuid("default", Key("VirtualMachine", "default", name))
    awaited = Awaited(host, uuid)

    def work() -> None:
        commit(
            repository,
            {f"{name}.yaml": [disk(name), machine(name, disks=(name,), runPolicy="AlwaysOn")]},
        )
        awaited.wait(runs)

    with libvirt.open("qemu:///session") as connection:

        def runs() -> bool:
            try:
                state = connection.lookupByUUIDString(uuid).state()
            except libvirt.libvirtError:  # it is not defined yet
                return False
            return bool(int(state[0]) == libvirt.VIR_DOMAIN_RUNNING)

        return wall(work)


def labelled(host: LibvirtHost, repository: LocalRepository, number: int) -> float:
    """Seconds from a push of a new label until it stands in the running instance."""
    name, label = f"vm-{number}", f"label-{number}"
    uuid = domain_uuid("default", Key("VirtualMachine", "default", name))
    awaited = Awaited(host, uuid)
    vm = machine(name, disks=(name,), metadata={"labels": {"is": label}}, runPolicy="AlwaysOn")

    def live() -> bool:
        raw = host.read_domain(uuid)
        return raw is not None and label in raw.active_xml

    def work() -> None:
        commit(repository, {f"{name}.yaml": [disk(name), vm]})
        awaited.wait(live)

    return wall(work)


def crashed(own: Session, host: LibvirtHost, number: int) -> float:
    """Seconds from the end of a QEMU process until its VM, which is to be always on, runs again."""
    name = f"default.vm-{number}"
    pid = own.qemu_pid(name)
    uuid = domain_uuid("default", Key("VirtualMachine", "default", f"vm-{number}"))
    awaited = Awaited(host, uuid)

    def again() -> bool:
        raw = host.read_domain(uuid)
        if raw is None or not raw.active or raw.starting:
            return False
        return own.qemu_pid(name) != pid

    def work() -> None:
        end_process(pid)
        awaited.wait(again)

    return wall(work)


def by_hand(host: LibvirtHost, number: int) -> tuple[float, float]:
    """What the agent has done for a VM, done again by bare calls for a twin: seconds, and those of
    the start alone.
    """
    begin = time.perf_counter()
    with libvirt.open("qemu:///session") as connection:
        create = wall(twin(connection, host, number).create)
    return time.perf_counter() - begin, create


def twin(
    connection: libvirt.virConnect, host: LibvirtHost, number: int, mac: tuple[str, str] = ("", "")
) -> libvirt.virDomain:
    """Another domain like that of a VM, with a disk of its own, defined by bare calls. `mac` is the VM's own, and the twin's."""
    twin = domain_uuid("default", Key("VirtualMachine", "default", f"twin-{number}"))
    name = f"vm-{number}"
    raw = host.read_domain(domain_uuid("default", Key("VirtualMachine", "default", name)))
    assert raw is not None
    pool = connection.storagePoolLookupByName(POOL)
    volume = pool.createXML(volume_xml(f"twin-{number}.qcow2", "qcow2", 1 << 30), 0)
    xml = raw.inactive_xml.replace(raw.uuid, twin).replace(
        f"default.{name}", f"default.twin-{number}"
    )
    xml = xml.replace("/default_console_", "/twin_console_")  # its file is locked
    xml = xml.replace(*mac)
    start = xml.index("<source file='") + len("<source file='")
    xml = xml[:start] + volume.path() + xml[xml.index("'", start) :]
    return connection.defineXML(xml)
