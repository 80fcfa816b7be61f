"""libvirt's system daemon, on a machine of its own: the host's is never touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from agent.core.host import HostError
from agent.hypervisor.deadlines import Deadlines
from agent.hypervisor.host import LibvirtHost
from tests.e2e.conftest import guest  # noqa: F401
from tests.e2e.stand import Stand
from tests.hosts import PATIENCE, Session, remove_domains
from tests.hypervisor.rigs import Rig
from tests.system.isolated import FOLDERS, MACHINE, prepare, start


@pytest.fixture(scope="session")
def system_root() -> Iterator[Path]:
    """The folder of a machine with a system daemon that is the tests' own."""
    if os.geteuid() != 0:
        pytest.fail("a machine of one's own needs root: run tests/system apart, as root")
    with own_machine() as root:
        yield root


@contextlib.contextmanager
def own_machine() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="gvsys"))
    root.chmod(0o755)
    prepare(root, str(uuid.uuid4()))
    machine = start(root, MACHINE)
    try:
        _await(_uri(root), root / "machine.log")
        yield root
    finally:
        machine.kill()
        machine.wait()
        shutil.rmtree(root, ignore_errors=True)


class Machine(Session):
    """The machine as a stand uses it: its processes are its own."""

    def open(self, deadlines: Deadlines | None = None) -> LibvirtHost:
        return LibvirtHost(None, _uri(self.root), deadlines=deadlines)

    def connect(self) -> libvirt.virConnect:
        return libvirt.open(_uri(self.root))

    @property
    def settings(self) -> dict[str, str]:
        return {"GITVIRT_CONNECT": _uri(self.root)}

    @property
    def qemu_logs(self) -> Path:
        return self.root / "log" / "qemu"

    def path(self, there: str) -> Path:
        return self.root / "lib" / Path(there).relative_to(FOLDERS["lib"])


@pytest.fixture
def system_machine(system_root: Path) -> Machine:
    return Machine(system_root)


@pytest.fixture
def stand(system_machine: Machine, tmp_path: Path) -> Iterator[Stand]:
    """An agent on that machine, not started yet."""
    with Stand(tmp_path, system_machine, "system", tmp_path / "vms.git") as made:
        yield made


def _uri(root: Path) -> str:
    return f"qemu+unix:///system?socket={root}/run/libvirt-sock"


@pytest.fixture
def system_host(system_root: Path) -> Iterator[LibvirtHost]:
    host = LibvirtHost(None, _uri(system_root))
    try:
        yield host
    finally:
        remove_domains(host)
        host.close()


@pytest.fixture
def rig(system_host: LibvirtHost, system_root: Path) -> Rig:
    return Rig(system_host, library=system_root / "lib")


@pytest.fixture
def full_rig(rig: Rig) -> Rig:
    return rig


def _await(uri: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            LibvirtHost(None, uri).close()
        except HostError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return
