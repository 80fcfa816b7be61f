"""Waiting for news of a repository: watched where it is local, polled where it is remote."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

from agent.cli.command import warn
from agent.gitrepo.repository import Repository, RepositoryError

POLL = 2.0
LOOK = 1.0
"""Seconds: how often a remote repository is asked, and a local one in case no event came."""


def follow(repository: Repository, timeout: float | None = None) -> Iterator[Mapping[str, str]]:
    """The refs now, and again each time that one of them has moved, until `timeout` seconds are
    over. Raises RepositoryError if they cannot be had at first, or never again.
    """
    end = None if timeout is None else time.monotonic() + timeout
    seen: Mapping[str, str] | None = None
    away = watched = False
    moved = threading.Event()
    with contextlib.ExitStack() as watching:
        while True:
            moved.clear()
            try:
                refs = repository.fetch()
            except RepositoryError as error:
                if seen is None or not error.retry:
                    raise
                if not away:
                    warn(f"{error}; trying again")
                away = True
            else:
                away = False
                if refs != seen:
                    seen = dict(refs)
                    yield refs
            wait = LOOK if repository.watch_paths() else POLL
            if end is not None:
                wait = min(wait, end - time.monotonic())
                if wait <= 0:
                    return
            if not watched:  # most callers have what they want at once
                watching.enter_context(_watched(repository, moved))
                watched = True
            moved.wait(wait)


@contextlib.contextmanager
def _watched(repository: Repository, moved: threading.Event) -> Iterator[None]:
    """Have the event set when a ref of a local repository may have moved, also since the last
    look.
    """
    from agent.gitrepo.watch import watch  # takes a while to load

    stop = threading.Event()
    paths = repository.watch_paths()
    thread = threading.Thread(target=watch, args=(paths, moved.set, stop), daemon=True)
    if paths:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if paths:
            thread.join()
