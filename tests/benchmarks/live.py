"""An agent as `gitvirt run` builds it, with all its threads, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.assemble import LOCAL_INTERVAL, Agent, Setup
from agent.core.host import Host
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.watch import watch
from agent.loop import Loop
from agent.reconcile.git import Branches

PATIENCE = 300.0
IMAGE_LIMIT = 10 << 30


@contextmanager
def running(folder: Path, root: Path, host: Host) -> Iterator[Agent]:
    """The agent at work on a local repository."""
    loop = Loop()
    with LocalRepository(root) as repository:
        setup = Setup("default", Branches(), folder, 30.0, LOCAL_INTERVAL, IMAGE_LIMIT)
        agent = Agent(setup, repository, {host.name: host}, "bench", loop.wake)
        watched = (repository.watch_paths(), agent.reconciler.look_at_git, loop.stop)
        threads = (
            threading.Thread(target=watch, args=watched),
            threading.Thread(target=loop.run, args=(agent.reconciler,)),
        )
        for thread in threads:
            thread.start()
        try:
            yield agent
        finally:
            loop.end()
            for thread in threads:
                thread.join()
            agent.close()


def until(holds: Callable[[], bool], every: float = 0.001) -> float:
    """Seconds until something holds."""
    start = time.perf_counter()
    while not holds():
        if time.perf_counter() > start + PATIENCE:
            raise TimeoutError("never came true")
        time.sleep(every)
    return time.perf_counter() - start
