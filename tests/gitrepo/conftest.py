"""One empty repository of each adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gitrepo.credentials import Credentials
from agent.gitrepo.http import SmartHttpClient
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.objects import ObjectRepository
from agent.gitrepo.remote import RemoteRepository
from agent.gitrepo.ssh import SshClient
from tests.gitrepo.git import GitServer, bare
from tests.gitrepo.sshd import SshServer
from tests.memory_repository import MemoryRepository

NOW = 1_700_000_000.9


def clock() -> float:
    return NOW


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The bare repository `fleet.git` that local and remote adapters read."""
    return bare(tmp_path / "served" / "fleet.git")


@pytest.fixture
def server(root: Path) -> Iterator[GitServer]:
    with GitServer(root.parent, "agent", "s3cret/word") as server:
        yield server


@pytest.fixture
def credentials() -> Credentials:
    return Credentials("agent", "s3cret/word")


@pytest.fixture
def local(root: Path) -> Iterator[LocalRepository]:
    with LocalRepository(root, clock) as repository:
        yield repository


@pytest.fixture
def remote(
    server: GitServer, tmp_path: Path, credentials: Credentials
) -> Iterator[RemoteRepository]:
    client = SmartHttpClient(server.url("fleet.git"), credentials)
    with RemoteRepository(client, tmp_path / "cache", clock=clock) as repository:
        yield repository


@pytest.fixture
def ssh(sshd: SshServer, root: Path, tmp_path: Path) -> Iterator[RemoteRepository]:
    client = SshClient(sshd.scp(root), sshd.quick)
    with RemoteRepository(client, tmp_path / "cache", clock=clock) as repository:
        yield repository


@pytest.fixture(params=["local", "remote", "ssh", "memory"])
def repository(request: pytest.FixtureRequest) -> ObjectRepository:
    if request.param == "memory":
        return MemoryRepository(clock)
    made = request.getfixturevalue(request.param)
    assert isinstance(made, ObjectRepository)
    return made


@pytest.fixture(params=["local", "remote", "ssh"])
def real(request: pytest.FixtureRequest) -> ObjectRepository:
    """An adapter whose repository real Git can reach at `root`."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, ObjectRepository)
    return made
