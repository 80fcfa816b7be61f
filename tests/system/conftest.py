"""libvirt's system daemon, on a machine of its own: the host's is never touched."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.host import HostError
from agent.hypervisor.host import LibvirtHost
from tests.hosts import PATIENCE, remove_domains
from tests.hypervisor.rigs import Rig
from tests.system.isolated import MACHINE, prepare, start


@pytest.fixture(scope="session")
def system_uri() -> Iterator[str]:
    """The URI of a system daemon that is the tests' own."""
    if os.geteuid() != 0:
        pytest.fail("a machine of one's own needs root: run tests/system apart, as root")
    root = Path(tempfile.mkdtemp(prefix="gvsys"))
    root.chmod(0o755)
    prepare(root, str(uuid.uuid4()))
    machine = start(root, MACHINE)
    try:
        uri = f"qemu+unix:///system?socket={root}/run/libvirt-sock"
        _await(uri, root / "machine.log")
        yield uri
    finally:
        machine.kill()
        machine.wait()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def system_host(system_uri: str) -> Iterator[LibvirtHost]:
    host = LibvirtHost(None, system_uri)
    try:
        yield host
    finally:
        remove_domains(host)
        host.close()


@pytest.fixture
def rig(system_host: LibvirtHost) -> Rig:
    return Rig(system_host)


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
