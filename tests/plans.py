"""What `gitvirt plan` would say of a push to a rig, before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.host import Reading
from agent.core.identity import POOL, domain_uuid
from agent.core.ledger import Record
from agent.core.model import Desired, Key
from agent.core.schema import Catalogue
from agent.gitrepo.worktree import CommitSource
from agent.kinds.registry import CHECKS
from agent.reconcile.desired import ManifestReader, together
from agent.reconcile.plans.items import Item, PlanReport
from agent.reconcile.plans.planning import plan
from agent.reconcile.recall import recall
from agent.reconcile.status_branch import StatusBranch
from tests.memory_repository import MemoryRepository
from tests.rig import MAIN, OPERATIONS, STATUS, Rig

CATALOGUE = Catalogue.load()
READER = ManifestReader(CATALOGUE, CHECKS)


@dataclass(frozen=True)
class Planned:
    report: PlanReport

    def __getitem__(self, name: str) -> Item:
        """The one item of that name."""
        (found,) = (item for item in self.report.items if item.key.name == name)
        return found

    @property
    def names(self) -> dict[str, str]:
        return {item.key.name: item.operation for item in self.report.items}


def branch(rig: Rig, name: str, files: Mapping[str, Any], start: str | None = None) -> str:
    """A commit with these changes on a branch that begins at main, or at another commit."""
    assert isinstance(rig.repo, MemoryRepository)
    ref = f"refs/heads/{name}"
    if (at := start or rig.repo.refs.get(MAIN)) is not None:
        rig.repo.refs.setdefault(ref, at)
    return rig.push(files, ref)


def planned(rig: Rig, files: Mapping[str, Any] | None = None, *, live: bool = False) -> Planned:
    """The plan of main with these changes."""
    assert isinstance(rig.repo, MemoryRepository)
    commit = branch(rig, "planned", files or {})
    del rig.repo.refs["refs/heads/planned"]
    return Planned(report(rig, desired(rig, commit), live=live))


def foreseen(rig: Rig, files: Mapping[str, Any], ref: str, *, live: bool) -> PlanReport:
    """The plan of a push to main or to the operations branch."""
    assert isinstance(rig.repo, MemoryRepository)
    start = rig.repo.refs.get(ref)
    if start is not None:
        rig.repo.refs["refs/heads/planned"] = start
    commit = rig.push(files, "refs/heads/planned")
    del rig.repo.refs["refs/heads/planned"]
    if ref == MAIN:
        return report(rig, desired(rig, commit), live=live)
    asked = READER.read(CommitSource(rig.repo, commit))
    main = READER.read(CommitSource(rig.repo, rig.repo.refs[MAIN]))
    return report(rig, together(CATALOGUE, main, asked), live=live)


def desired(rig: Rig, commit: str) -> Desired:
    found = READER.read(CommitSource(rig.repo, commit))
    operations = rig.repo.fetch().get(OPERATIONS)
    if operations is None:
        return found
    return together(CATALOGUE, found, READER.read(CommitSource(rig.repo, operations)))


def report(rig: Rig, wanted: Desired, *, live: bool = False) -> PlanReport:
    ledger = StatusBranch(rig.repo, CATALOGUE, STATUS, rig.fleet).read(rig.repo.fetch().get(STATUS))
    recall(ledger, rig.repo, CATALOGUE, READER)
    reading: list[Reading] | None = None
    if live:
        reading = [host.read(frozenset({POOL})) for host in rig.hosts.values()]
    return plan(CATALOGUE, ledger, wanted, rig.fleet, rig.now, reading, networks=rig.networks)


def touched(rig: Rig, before: Mapping[Key, Record]) -> set[Key]:
    """VMs and disks that verbs were carried out for since the last look, but for live metadata.
    `before` holds objects that may be gone by now.
    """
    records = {**before, **rig.agent.reconciler.records()}
    domains = {domain_uuid(rig.fleet, key): key for key in records if key.kind == "VirtualMachine"}
    uids = {each.obj.uid: key for some in (before, records) for key, each in some.items()}
    found = set()
    for verb, subject in rig.host.verbs:
        if verb not in ("ensure_pool", "set_live_metadata"):
            owner = (key for uid, key in uids.items() if uid in subject)
            found.add(domains.get(subject) or next(owner, Key("", "", subject)))
    rig.host.verbs.clear()
    return found
