"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gitrepo.sshd import SshServer

pytest_plugins = ("tests.hosts", "tests.golden.rewriting")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real ssh server that this user can log in to."""
    with SshServer(tmp_path_factory.mktemp("sshd") / "ssh") as server:
        yield server
