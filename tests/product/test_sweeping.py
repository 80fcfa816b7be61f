"""Lock files of writers that were killed, in a repository that people push to."""

from __future__ import annotations

import os
from pathlib import Path

from agent.gitrepo.local import LocalRepository
from agent.reconcile.git import SWEEP
from tests.gitrepo.git import bare
from tests.rig import Rig, disk


def test_the_agent_sweeps_what_it_writes(tmp_path: Path) -> None:
    root = bare(tmp_path / "fleet.git")
    (tmp_path / "agent").mkdir()
    names = ("refs/heads/operations", "refs/heads/status", "refs/gitvirt/agent", "packed-refs")
    with LocalRepository(root) as repository:
        rig = Rig(tmp_path / "agent", repository=repository)
        rig.push({"disk.yaml": disk()})
        rig.settle()
        locks = [root / f"{name}.lock" for name in (*names, "refs/heads/main")]
        for lock in locks:
            lock.touch()
            os.utime(lock, (1, 1))
        rig.now += SWEEP + 60
        rig.settle()
        assert [lock for lock in locks if lock.exists()] == [root / "refs/heads/main.lock"]
