"""Fleets of the size that a benchmark asks for: each VM with a disk, spread over namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.gitrepo.repository import Repository
from tests.memory_host import MemoryHost
from tests.rig import MAIN, Rig, disk, encoded, machine

NAMESPACES = 100


def namespace(number: int, namespaces: int = NAMESPACES) -> str:
    return f"team-{number % namespaces:03d}"


def path(number: int, namespaces: int = NAMESPACES) -> str:
    return f"{namespace(number, namespaces)}/vm-{number:05d}.yaml"


def documents(
    number: int, namespaces: int = NAMESPACES, labels: dict[str, str] | None = None, **spec: Any
) -> list[dict[str, Any]]:
    """The manifests of one VM and its disk."""
    name, team = f"vm-{number:05d}", namespace(number, namespaces)
    root = disk(name, "10Gi")
    root["metadata"]["namespace"] = team
    vm = machine(name, disks=(name,), metadata={"namespace": team, "labels": labels or {}}, **spec)
    return [root, vm]


def files(count: int, namespaces: int = NAMESPACES) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file of a fleet."""
    for number in range(count):
        data = encoded(documents(number, namespaces))
        assert data is not None
        yield path(number, namespaces), data


def push(repository: Repository, count: int, namespaces: int = NAMESPACES) -> str:
    """Commit a whole fleet."""
    changes: dict[str, bytes | None] = dict(files(count, namespaces))
    return repository.commit(MAIN, repository.fetch().get(MAIN), changes, "fleet")


def steady(
    folder: Path,
    count: int,
    namespaces: int = NAMESPACES,
    repository: Repository | None = None,
    host: MemoryHost | None = None,
) -> Rig:
    """An agent whose fleet runs, with nothing left to do."""
    rig = Rig(folder, host or MemoryHost(), repository)
    push(rig.repo, count, namespaces)
    summary = rig.settle(steps=500)
    wrong = (*summary.wrong, *summary.problems)
    assert not wrong, wrong[:3]
    return rig
