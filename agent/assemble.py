"""Puts the agent together: the one place that knows all of its parts."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

from agent.core.facts import Engine
from agent.core.host import Host
from agent.core.known import MANNER, NETWORKS, OVERCOMMIT, PEERS
from agent.core.links import Link
from agent.core.migrating import Manner, Peer
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository
from agent.images.partial import sweep
from agent.images.request import Reach
from agent.kinds.registry import CHECKS, ORDER, decisions
from agent.places import Pools
from agent.reconcile.beats import Beat
from agent.reconcile.desired import ManifestReader
from agent.reconcile.execute import Executor
from agent.reconcile.git import HEADS, Branches, GitWorker
from agent.reconcile.lease import uptime
from agent.reconcile.news import Lanes, NodeLanes
from agent.reconcile.plans.open_branches import OpenBranches
from agent.reconcile.reconciler import Reconciler
from agent.reconcile.status_branch import StatusBranch
from agent.reconcile.supply import Source
from agent.reconcile.terms import Identity, Timing
from agent.reconcile.workers import Workers

LAST_WORK = 5.0
"""Seconds that work under way gets when the agent ends; then it is left."""
LOCAL_INTERVAL = 0.2
"""Least seconds between two writes to a repository on disk, unless something waits for one: each
flushes a dozen files, and many outcomes fit into one.
"""
THREADS = {
    "reads": 2,
    "actions": 8,
    "volumes": 4,
    "imports": 4,
    "guests": 4,
    "networks": 1,
    "moves": 4,
}
"""At most, of each node's lanes."""


class AlreadyRunning(Exception):  # says what it is
    """Another agent uses the same data folder."""


class DataFolderError(Exception):
    """The data folder cannot be made or written."""


@dataclass(frozen=True)
class Setup:
    """What an agent is made of, as settings say it."""

    fleet: str
    branches: Branches
    data_dir: Path
    poll: float
    """Seconds between two looks at the repository."""
    status_interval: float
    """Least seconds between two writes to a remote repository."""
    image_limit: int
    """Bytes that one image may have."""
    trash_retention: float = 7 * 86400.0
    """Seconds for which what was deleted can come back."""
    reach: Reach = field(default_factory=Reach)
    """Where images may come from."""
    pools: Pools = field(default_factory=Pools)
    networks: Mapping[str, Link] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    """How other hosts reach each node, where they do."""
    overcommit: float | None = None
    """How often a node's memory is given away; None: once, and the only node's as often as asked.
    """
    manner: Manner = field(default_factory=Manner)
    """What each network that machines may name is on a host."""


@contextmanager
def claimed(data_dir: Path) -> Iterator[str]:
    """Hold the data folder; gives this place's name as an agent. Raises AlreadyRunning and
    DataFolderError.
    """
    with ExitStack() as held:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = held.enter_context((data_dir / "agent.id").open("a+", encoding="ascii"))
            name = _claim(file)
        except BlockingIOError as error:
            raise AlreadyRunning(
                f"another agent runs with the data folder {data_dir}: "
                "give this one another --data-dir"
            ) from error
        except OSError as error:
            raise DataFolderError(
                f"the data folder {data_dir} cannot be used ({error.strerror}): "
                "name one that this user can write with --data-dir"
            ) from error
        yield name


def _claim(file: TextIO) -> str:
    """The name that the file holds, or is given now. BlockingIOError if another process has it."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.seek(0)
    name = file.read().strip()
    if not name:
        name = f"{os.uname().nodename}-{uuid.uuid4().hex[:8]}"
        file.write(name + "\n")
        file.flush()
    return name


def program_version() -> str:
    try:
        return version("gitvirt")
    except PackageNotFoundError:
        return "0"


class Agent:
    """A reconciler with its threads. `close` ends what can be ended; domains keep running."""

    def __init__(
        self,
        setup: Setup,
        repository: Repository,
        hosts: Mapping[str, Host],
        instance: str,
        wake: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
        lanes: Lanes | None = None,
        uptime: Callable[[], float] = uptime,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        catalogue = Catalogue.load()
        spool = setup.data_dir / "spool"
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(spool)
        self._stopping = threading.Event()
        self._workers: list[Workers] = []
        self._git_workers: Workers | None = None
        status = StatusBranch(
            repository, catalogue, f"refs/heads/{setup.branches.status}", setup.fleet
        )
        self.git = GitWorker(
            repository,
            catalogue,
            ManifestReader(catalogue, CHECKS),
            setup.branches,
            status,
            Beat(
                instance,
                setup.fleet,
                f"{HEADS}{setup.branches.status}",
                f"{HEADS}{setup.branches.operations}",
            ),
            uptime,
            written,
        )
        executor = Executor(
            hosts,
            Source(spool, setup.image_limit, setup.reach, lambda news: self.reconciler.post(news)),
            lambda: self.reconciler.next_number(),
            self._stopping.is_set,
            self.git.may_act,
            lambda node, pool: setup.pools.sharing(hosts, node, pool),
        )
        engine = Engine(ORDER, decisions(catalogue))
        engine.put(NETWORKS, None, setup.networks)
        engine.put(PEERS, None, setup.peers or None)
        engine.put(MANNER, None, setup.manner)
        engine.put(OVERCOMMIT, None, setup.overcommit)
        self.reconciler = Reconciler(
            catalogue=catalogue,
            engine=engine,
            git=self.git,
            status=status,
            hosts=hosts,
            pools=setup.pools,
            executor=executor,
            lanes=lanes or self._lanes(hosts),
            branches=OpenBranches(repository, setup.branches.folder),
            identity=Identity(setup.fleet, program_version(), setup.branches),
            timing=Timing(
                clock, random.random, setup.poll, setup.status_interval, setup.trash_retention
            ),
            wake=wake,
        )

    def _lanes(self, nodes: Iterable[str]) -> Lanes:
        self._git_workers = self._lane("git", 1)
        return Lanes(
            git=self._git_workers.submit,
            plans=self._lane("plans", 1).submit,
            of={
                node: NodeLanes(
                    **{
                        name: self._lane(f"{name}@{node}", count).submit
                        for name, count in THREADS.items()
                    }
                )
                for node in nodes
            },
        )

    def _lane(self, name: str, count: int) -> Workers:
        self._workers.append(Workers(name, count))
        return self._workers[-1]

    def close(self) -> None:
        """End. Whatever is still under way after a moment is left; the lease is given up, unless
        the repository hangs.
        """
        self._stopping.set()
        for workers in self._workers:
            workers.close()
        deadline = time.monotonic() + LAST_WORK
        ended = [workers for workers in self._workers if workers.join(deadline)]
        if self._git_workers is None or self._git_workers in ended:
            self.git.release()
