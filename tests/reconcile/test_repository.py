"""What is told of a repository that cannot be read or written: once when it begins, once when it is over."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from agent.gitrepo.repository import RepositoryError, StaleTip
from agent.reconcile.git import Pushed, Synced
from agent.reconcile.repository import RepositorySide
from tests.rig import Rig

LOCKED = RepositoryError("Locked", "status.lock is there")
AWAY = RepositoryError("Unreachable", "no answer")


@pytest.fixture
def side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> RepositorySide:
    """The repository's side of an agent that acts, after its start."""
    rig = Rig(tmp_path)
    rig.push()
    rig.settle()
    caplog.clear()
    caplog.set_level(logging.INFO, "gitvirt")
    return rig.agent.reconciler._repository


def test_a_branch_that_cannot_be_written_is_told_of_once(
    side: RepositorySide, caplog: pytest.LogCaptureFixture
) -> None:
    for now in (0.0, 7.0, 14.0):
        side.pushed(Pushed(error=LOCKED), now)
        side.synced(Synced(), now + 1)
        assert side.error == "status.lock is there"
    assert side.pushed(Pushed("1" * 40), 21.0)
    assert side.error == ""
    side.synced(Synced(), 22.0)
    assert caplog.messages == [
        "repository: status.lock is there",
        "repository: the status branch is written again",
    ]


def test_a_repository_that_is_away_is_told_of_once(
    side: RepositorySide, caplog: pytest.LogCaptureFixture
) -> None:
    for now in (0.0, 5.0):
        side.synced(Synced(error=AWAY), now)
        side.pushed(Pushed(error=AWAY), now)
    assert side.error == "no answer"
    side.synced(Synced(), 10.0)
    assert side.error == ""
    side.pushed(Pushed("1" * 40), 11.0)
    assert caplog.messages == ["repository: no answer", "repository: reachable again"]


@pytest.mark.parametrize(
    "end", [Pushed(stale=True, error=StaleTip("moved")), Synced(leading=False, leader="b")]
)
def test_what_no_longer_has_to_be_written_is_no_error(
    side: RepositorySide, end: Pushed | Synced
) -> None:
    side.pushed(Pushed(error=LOCKED), 0.0)
    if isinstance(end, Pushed):
        side.pushed(end, 1.0)
    else:
        side.synced(end, 1.0)
    assert side.error == ""
