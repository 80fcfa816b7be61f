"""The hosts under the contract: one in memory, libvirt's test driver, and real QEMU."""

from __future__ import annotations

import pytest

from agent.hypervisor.host import LibvirtHost
from tests.hosts import Session
from tests.hypervisor.rigs import Rig
from tests.memory_host import MemoryHost


@pytest.fixture(params=["memory", "test_driver", "session"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Every host, for what all of them can do."""
    return _rig(request)


@pytest.fixture(params=["memory", "session"])
def full_rig(request: pytest.FixtureRequest) -> Rig:
    """Hosts with streams, and with events and refusals as QEMU has them."""
    return _rig(request)


@pytest.fixture
def session_rig(session: Session, session_host: LibvirtHost) -> Rig:
    """Real QEMU."""
    return Rig(session_host, session=session)


def _rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "memory":
        return Rig(MemoryHost())
    if request.param == "session":
        host = request.getfixturevalue("session_host")
        return Rig(host, session=request.getfixturevalue("session"))
    return Rig(request.getfixturevalue("test_driver_host"), domain_type="test", streams=False)
