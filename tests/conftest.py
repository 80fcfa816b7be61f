"""Fixtures of the whole suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.gitrepo.sshd import SshServer

pytest_plugins = ("tests.hosts", "tests.golden.rewriting")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real ssh server that this user can log in to."""
    with SshServer(tmp_path_factory.mktemp("sshd") / "ssh") as server:
        yield server


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that runs in this process sets up the log; afterwards it is as it was."""
    log = logging.getLogger("gitvirt")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
