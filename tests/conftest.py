"""Fixtures of the whole suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.gitrepo.sshd import SshServer

pytest_plugins = ("tests.hosts", "tests.golden.rewriting")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real host: `tests/run.sh` runs nothing else beside that."""
    for item in items:
        if isinstance(item, pytest.Function) and "session" in _asked(item):
            item.add_marker("host")


def _asked(item: pytest.Function) -> set[str]:
    """What a test asks for: its fixtures, and what they are told to be."""
    call = getattr(item, "callspec", None)
    told = call.params.values() if call is not None else ()
    return {*item.fixturenames, *(each for each in told if isinstance(each, str))}


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real ssh server that this user can log in to."""
    with SshServer(tmp_path_factory.mktemp("sshd") / "ssh") as server:
        yield server


class Mistakes(logging.Handler):
    """Keeps what the program says of mistakes in itself."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def no_mistakes(request: pytest.FixtureRequest, own_log: None) -> Iterator[None]:
    """The program goes on after a mistake in itself; a test that meant none must not."""
    handler, log = Mistakes(), logging.getLogger("gitvirt")
    log.addHandler(handler)
    yield
    log.removeHandler(handler)
    if handler.found and request.node.get_closest_marker("mistakes") is None:
        pytest.fail("\n".join(handler.found))


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that runs in this process sets up the log; afterwards it is as it was."""
    log = logging.getLogger("gitvirt")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
