"""Stands, and the agent's log beside whatever fails (with `-rP` beside everything)."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.e2e.stand import Stand
from tests.hosts import Session

MakeStand = Callable[..., Stand]


@pytest.fixture(scope="session")
def guest() -> bytes:
    """The small guest's image."""
    given = os.environ.get("GITVIRT_GUEST_IMAGE")
    if not given:
        pytest.fail(
            "GITVIRT_GUEST_IMAGE must name the small guest's image, as tests/run.sh makes it"
        )
    return Path(given).read_bytes()


@pytest.fixture(scope="module")
def make_stand(session: Session, tmp_path_factory: pytest.TempPathFactory) -> MakeStand:
    """Makes a stand for a fleet's name, to be entered as a context."""

    def make(fleet: str, repository: Path | None = None, address: str = "") -> Stand:
        folder = tmp_path_factory.mktemp(fleet)
        return Stand(folder, session, fleet, repository or folder / "vms.git", address)

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, Stand):
                report.sections.append((f"the agent's log ({name})", value.log()[-20_000:]))
    return report
