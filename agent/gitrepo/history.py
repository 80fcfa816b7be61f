"""Which commit was made on top of which."""

from __future__ import annotations

import heapq

from agent.gitrepo.repository import CommitInfo, Repository, RepositoryError


def contains(repository: Repository, tip: str, commit: str) -> bool:
    """True if `commit` is `tip`, or one that it was made on top of. Newest commits are looked at
    first; to be sure that one is not there costs the whole history.
    """
    waiting, seen = [(0, tip)], {tip}
    while waiting:
        _, identity = heapq.heappop(waiting)
        if identity == commit:
            return True
        info = _info(repository, identity)
        for parent in info.parents if info else ():
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(waiting, (-_time(_info(repository, parent)), parent))
    return False


def _info(repository: Repository, commit: str) -> CommitInfo | None:
    """None where a shallow clone ends."""
    try:
        return repository.commit_info(commit)
    except RepositoryError as error:
        if error.reason != "ObjectMissing":
            raise
        return None


def _time(info: CommitInfo | None) -> int:
    return info.time if info else 0
