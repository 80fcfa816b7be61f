"""From a start to the first plan, and plans of one change."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

from agent.core.schema import Catalogue
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.worktree import CommitSource
from agent.kinds.registry import CHECKS
from agent.loop import Loop
from agent.reconcile.desired import ManifestReader
from agent.reconcile.plans import planning
from agent.reconcile.plans.open_branches import OpenBranches
from agent.reconcile.plans.process import plan_branch
from agent.reconcile.status_branch import StatusBranch
from tests.benchmarks.figures import Figure, cpu, peak, resident, wall
from tests.benchmarks.fleet import documents, path, push, steady
from tests.gitrepo.git import bare
from tests.rig import MAIN, STATUS, Rig

START = 5_000
PLANNED = 10_000


def start() -> Iterator[Figure]:
    """A new agent over a local repository: until every VM of a new fleet is decided about, and again over a ledger."""
    Loop()
    before = resident()
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    with LocalRepository(bare(folder / "repository")) as repository:
        push(repository, START)
        rig = Rig(folder / "data", repository=repository)
        rig.agent.reconciler.look_at_git()
        start = process_time()
        spent = wall(lambda: first_plan(rig))
        yield Figure(f"start to first plan, {START:,} VMs with a disk each", spent, "s", 10)
        yield Figure("CPU of it", process_time() - start, "s")
        yield Figure("memory then, at most", peak(), "MiB", 350)
        yield Figure("memory of the bare process", before, "MiB")


def first_plan(rig: Rig) -> None:
    """Passes until the first thing is about to be done."""
    while not any(verb != "ensure_pool" for verb, _ in rig.host.verbs):
        rig.agent.reconciler.run()
        if len(rig.agent.reconciler._engine.decisions) > START:
            return
        if rig._tasks:
            rig._tasks.popleft()()


def restart() -> Iterator[Figure]:
    """A new agent over a ledger and running domains: until it has nothing left to decide."""
    Loop()
    rig = steady(Path(tempfile.mkdtemp(prefix="gitvirt-")), START)
    rig.start()
    yield Figure(f"restart over {START:,} running VMs", wall(rig.settle), "s", 15)


def plan() -> Iterator[Figure]:
    """`gitvirt plan` of one changed VM, once everything was read before."""
    Loop()
    rig = steady(Path(tempfile.mkdtemp(prefix="gitvirt-")), PLANNED)
    catalogue = Catalogue.load()
    reader = ManifestReader(catalogue, CHECKS)
    branch = StatusBranch(rig.repo, catalogue, STATUS, rig.fleet)
    ledger = branch.read(rig.repo.fetch()[STATUS])
    reader.follow(CommitSource(rig.repo, rig.repo.fetch()[MAIN]), "main")
    main = rig.repo.fetch()[MAIN]
    changed = rig.push({path(7): documents(7, cpu={"cores": 2})})
    survey = OpenBranches(rig.repo, "").survey(main, {"refs/heads/topic": changed}, {}, rig.now)
    assert survey.change is not None
    change = survey.change

    def page() -> None:
        found = plan_branch(catalogue, change, ledger, rig.fleet, "", rig.now).page
        assert found.startswith("### Plan: 1 to change"), found

    def work() -> None:
        desired = reader.follow(CommitSource(rig.repo, changed), "main")
        report = planning.plan(catalogue, ledger, desired, rig.fleet, rig.now)
        assert [item.key.name for item in report.items] == ["vm-00007"], report.items

    work()
    yield Figure(f"plan of one changed VM among {PLANNED:,}, warm", cpu(work), "s", 0.5)
    yield Figure("the same as an open branch's, in a process of its own", wall(page), "s", 1.5)
