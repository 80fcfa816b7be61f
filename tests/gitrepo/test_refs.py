"""Refs beside branches: which are asked for, and that they come and go as branches do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gitrepo import refs
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.objects import ObjectRepository
from agent.gitrepo.open import open_repository
from agent.gitrepo.refs import Spaces, is_pattern, newest_first
from agent.gitrepo.remote import RemoteRepository
from tests.gitrepo.git import GitServer, git, put
from tests.memory_repository import MemoryRepository

PATTERNS = ("refs/pull/*/head", "refs/merge-requests/*/head")
PULLS = Spaces(PATTERNS)
HEAD = "refs/heads/main"


@pytest.fixture(params=["local", "remote"])
def asking(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path
) -> Iterator[ObjectRepository]:
    """A repository that wants pull requests too."""
    address = str(root)
    if request.param == "remote":
        server: GitServer = request.getfixturevalue("server")
        server.user = ""
        address = server.url("fleet.git")
    made = open_repository(address, tmp_path / "asking", refs=PATTERNS)
    assert isinstance(made, LocalRepository | RemoteRepository)
    with made:
        yield made


def test_a_fetch_brings_what_was_asked_for_and_its_objects(
    asking: ObjectRepository, root: Path
) -> None:
    main = put(root, {"a.yaml": "main"})
    pull = put(root, {"a.yaml": "pull"}, "refs/pull/1/head")
    request = put(root, {"a.yaml": "request"}, "refs/merge-requests/7/head")
    for other in ("refs/pull/1/merge", "refs/pull/1/a/head", "refs/pulls/1/head", "refs/tags/v1"):
        put(root, {"a.yaml": other}, other)
    found = {HEAD: main, "refs/merge-requests/7/head": request, "refs/pull/1/head": pull}
    assert dict(asking.fetch()) == found
    assert asking.read_path(pull, "a.yaml") == b"pull"
    assert asking.resolve("refs/pull/1/head") == pull


def test_what_is_not_asked_for_is_not_fetched(repository: ObjectRepository, root: Path) -> None:
    if isinstance(repository, MemoryRepository):
        repository.refs["refs/pull/1/head"] = "0" * 40
    else:
        put(root, {"a.yaml": "pull"}, "refs/pull/1/head")
    assert repository.fetch() == {}


def test_a_ref_that_moves_and_one_that_goes(asking: ObjectRepository, root: Path) -> None:
    put(root, {"a.yaml": "main"})
    put(root, {"a.yaml": "one"}, "refs/pull/1/head")
    put(root, {"a.yaml": "two"}, "refs/pull/2/head")
    asking.fetch()
    moved = put(root, {"a.yaml": "more"}, "refs/pull/1/head")
    git(root, "update-ref", "-d", "refs/pull/2/head")
    found = asking.fetch()
    assert found.keys() == {HEAD, "refs/pull/1/head"}
    assert found["refs/pull/1/head"] == moved
    assert asking.resolve("refs/pull/2/head") is None


def test_a_branch_of_the_same_name_is_another_ref(asking: ObjectRepository, root: Path) -> None:
    branch = put(root, {"a.yaml": "branch"}, "refs/heads/refs/pull/1/head")
    pull = put(root, {"a.yaml": "pull"}, "refs/pull/1/head")
    assert asking.fetch() == {"refs/heads/refs/pull/1/head": branch, "refs/pull/1/head": pull}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("refs/pull/1*/head", {"refs/pull/1/head", "refs/pull/12/head"}),
        ("refs/pull/12/head", {"refs/pull/12/head"}),
    ],
)
def test_a_pattern_may_begin_with_a_part_of_a_name_or_be_a_whole_one(
    root: Path, tmp_path: Path, pattern: str, found: set[str], packed: bool
) -> None:
    for number in (1, 12, 2):
        put(root, {"a.yaml": "pull"}, f"refs/pull/{number}/head")
    if packed:
        git(root, "pack-refs", "--all")
    with open_repository(str(root), tmp_path, refs=(pattern,)) as asking:
        assert asking.fetch().keys() - {HEAD} == found


def test_of_very_many_the_newest_are_taken(
    asking: ObjectRepository, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "MOST_ASKED", 3)
    main = put(root, {"a.yaml": "main"})
    lines = "".join(f"create refs/pull/{n}/head {main}\n" for n in range(1, 1201))
    git(root, "update-ref", "--stdin", stdin=lines.encode())
    git(root, "pack-refs", "--all")
    put(root, {"a.yaml": "old"}, "refs/pull/9/head")
    assert asking.fetch().keys() == {HEAD, *(f"refs/pull/{n}/head" for n in (1198, 1199, 1200))}


def test_a_ref_may_be_something_else_than_a_commit(asking: ObjectRepository, root: Path) -> None:
    main = put(root, {"a.yaml": "main"})
    blob = git(root, "rev-parse", f"{main}:a.yaml")
    git(root, "update-ref", "refs/pull/1/head", blob)
    assert asking.fetch() == {HEAD: main, "refs/pull/1/head": blob}
    assert asking.resolve("refs/pull/1/head") is None


def test_the_order_of_refs() -> None:
    names = ["refs/pull/9/head", "refs/heads/z", "refs/pull/10/head", "refs/heads/a", "refs/x/y"]
    assert newest_first(names) == [
        "refs/heads/a",
        "refs/heads/z",
        "refs/x/y",
        "refs/pull/10/head",
        "refs/pull/9/head",
    ]


@pytest.mark.parametrize("text", [*PATTERNS, "refs/pull/7/head", "refs/for/*"])
def test_what_is_a_pattern(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "refs/*", "refs/*/head", "pull/*/head", "refs/heads/*", "refs/tags/*"),
        *("refs/gitvirt/*", "refs/pull/**/head", "refs/pull/*.lock", "refs/pull/a b"),
        "refs/pull/\n*",
    ],
)
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)
