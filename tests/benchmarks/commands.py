"""Commands as users start them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.gitrepo.local import LocalRepository
from tests.benchmarks.figures import Figure, median, wall
from tests.benchmarks.fleet import steady
from tests.gitrepo.git import bare

COUNT = 1_000


def commands() -> Iterator[Figure]:
    """Start-up, and a table of many VMs."""
    yield Figure("python, bare", median(5, lambda: wall(lambda: python("-c", "pass"))), "s")
    yield Figure("gitvirt --help", median(5, lambda: gitvirt("--help")), "s")
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    root = bare(folder / "repository")
    with LocalRepository(root) as repository:
        steady(folder / "data", COUNT, repository=repository)
    where = ("--repo", str(root))
    yield Figure(
        f"gitvirt get vm -A, {COUNT:,} VMs",
        median(3, lambda: gitvirt("get", "vm", "-A", *where)),
        "s",
    )
    one = ("get", "vm", "vm-00007", "-n", "team-007", *where)
    yield Figure(f"gitvirt get vm NAME, {COUNT:,} VMs", median(3, lambda: gitvirt(*one)), "s")
    yield Figure(
        f"gitvirt status, {COUNT:,} VMs", median(3, lambda: gitvirt("status", *where)), "s"
    )


def gitvirt(*arguments: str) -> float:
    return wall(lambda: python("-m", "agent", *arguments))


def python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
