"""Which commit was made on top of which, and by whom."""

from __future__ import annotations

import heapq

from agent.gitrepo.repository import CommitInfo, Repository, RepositoryError

_COMMITS, _FILES = 100, 1_000
"""Commits that are asked who made them, and files that one may change."""


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


def authors(repository: Repository, tip: str, known: str | None) -> dict[str, str]:
    """By path, who changed a file last, in the newest commits up to `known`. What is too much to
    look at, or damaged, is left out.
    """
    by_path: dict[str, str] = {}
    for info in repository.log(tip, limit=_COMMITS):
        if info.id == known:
            break
        try:
            before = repository.tree_id(info.parents[0]) if info.parents else None
            pairs = repository.changed(before, repository.tree_id(info.id), _FILES)
        except RepositoryError:
            break
        for _, file in pairs:
            if file is not None:
                by_path.setdefault(file.path, info.author)
    return by_path


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
