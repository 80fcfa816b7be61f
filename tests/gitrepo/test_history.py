from __future__ import annotations

from pathlib import Path

from agent.gitrepo.history import contains
from agent.gitrepo.local import LocalRepository
from tests.gitrepo.git import git, put
from tests.memory_repository import MemoryRepository


def test_ancestors_are_found_through_merges_whatever_their_clocks_say(
    root: Path, local: LocalRepository
) -> None:
    first = put(root, {"a": "1"})
    tree = git(root, "rev-parse", f"{first}^{{tree}}")
    early, late = (
        git(root, "-c", f"user.name={n}", "commit-tree", tree, "-p", first, "-m", n) for n in "ab"
    )
    merge = git(root, "commit-tree", tree, "-p", early, "-p", late, "-m", "merge")
    alone = git(root, "commit-tree", tree, "-m", "alone")
    for commit in (merge, early, late, first):
        assert contains(local, merge, commit)
    assert contains(local, early, early)
    for tip, commit in ((early, late), (first, merge), (merge, alone), (alone, first)):
        assert not contains(local, tip, commit)


def test_a_commit_from_the_past_hides_nothing() -> None:
    times = iter([5_000_000_000, 1_000, 1_700_000_000, 0])
    repository = MemoryRepository(lambda: next(times))
    made: list[str] = []
    for number in range(4):
        tip = made[-1] if made else None
        made.append(repository.commit("refs/heads/main", tip, {"a": b"%d" % number}, "x"))
    assert all(contains(repository, made[-1], each) for each in made)


def test_a_shallow_clone_ends_where_it_ends(root: Path, tmp_path: Path) -> None:
    first = put(root, {"a": "1"})
    second = put(root, {"a": "2"})
    git(tmp_path, "clone", "-q", "--bare", "--depth=1", f"file://{root}", "shallow.git")
    with LocalRepository(tmp_path / "shallow.git") as shallow:
        assert contains(shallow, second, second)
        assert not contains(shallow, second, "1" * 40)
        assert contains(shallow, second, first)  # it is named as a parent
