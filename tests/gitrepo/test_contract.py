"""What every adapter promises, proved on all of them."""

from __future__ import annotations

import pytest

from agent.gitrepo.objects import ObjectRepository
from agent.gitrepo.repository import Repository, RepositoryError, StaleTip, TreeFile
from tests.memory_repository import MemoryRepository

STATUS = "refs/heads/status"
MAIN = "refs/heads/main"


def content(repository: Repository, commit: str) -> dict[str, bytes]:
    return {file.path: repository.read(file.blob) for file in repository.files(commit)}


def test_satisfies_the_protocol(repository: ObjectRepository) -> None:
    taken: Repository = repository
    with taken as opened:
        assert opened is repository


def test_an_empty_repository_has_no_refs(repository: ObjectRepository) -> None:
    assert repository.fetch() == {}
    assert repository.resolve("main") is None


def test_the_first_commit_makes_the_ref(repository: ObjectRepository) -> None:
    repository.fetch()
    first = repository.commit(STATUS, None, {"a.yaml": b"1", "n/b.yaml": b"2"}, "begin\n\nwhy")
    assert repository.fetch() == {STATUS: first}
    assert content(repository, first) == {"a.yaml": b"1", "n/b.yaml": b"2"}
    info = repository.commit_info(first)
    assert (info.id, info.parents, info.time) == (first, (), 1_700_000_000)
    assert (info.subject, info.body) == ("begin", "why")
    assert info.author == "gitvirt <gitvirt@localhost>"


def test_a_commit_changes_what_it_names_and_nothing_else(repository: ObjectRepository) -> None:
    first = repository.commit(
        STATUS, None, {"a": b"1", "n/b": b"2", "n/m/c": b"3", "z/d": b"4"}, "1"
    )
    second = repository.commit(STATUS, first, {"n/b": None, "n/e": b"5", "z/d": None}, "2")
    assert content(repository, second) == {"a": b"1", "n/m/c": b"3", "n/e": b"5"}
    assert repository.commit_info(second).parents == (first,)
    assert repository.tree_id(second, "n/m") == repository.tree_id(first, "n/m")
    assert repository.tree_id(second, "n") != repository.tree_id(first, "n")
    assert repository.tree_id(second, "z") is None


def test_removing_everything_leaves_an_empty_tree(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"n/b": b"2"}, "1")
    second = repository.commit(STATUS, first, {"n/b": None, "never/there": None}, "2")
    assert content(repository, second) == {}
    assert repository.tree_id(second) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_file_becomes_a_folder_and_back(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"a": b"1", "b/c": b"2", "b/d": b"3"}, "1")
    second = repository.commit(STATUS, first, {"a": None, "a/x": b"4"}, "2")
    assert content(repository, second) == {"a/x": b"4", "b/c": b"2", "b/d": b"3"}
    third = repository.commit(STATUS, second, {"b": b"5", "b/c": None}, "3")
    assert content(repository, third) == {"a/x": b"4", "b": b"5"}


def test_removing_a_file_removes_no_folder_of_its_name(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"b/c": b"2", "f": b"1"}, "1")
    second = repository.commit(STATUS, first, {"b": None, "f/x": None}, "2")
    assert content(repository, second) == {"b/c": b"2", "f": b"1"}


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "a/", "../a", "a/../b", ".git/config", "a/.GIT/x", "a\0b", "\ud800"]
)
def test_paths_that_git_cannot_hold_are_refused(repository: ObjectRepository, path: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        repository.commit(STATUS, None, {path: b""}, "no")
    assert caught.value.reason == "InvalidPath"
    assert not caught.value.retry
    assert repository.fetch() == {}


def test_a_file_and_a_folder_of_one_name_are_refused(repository: ObjectRepository) -> None:
    with pytest.raises(RepositoryError, match="'n/a' cannot be a file and a folder"):
        repository.commit(STATUS, None, {"n/a": b"", "n/a/b/c": b""}, "no")


@pytest.mark.parametrize(
    "ref", ["status", "refs/heads/", "refs/heads/a..b", "refs/heads/a b", "HEAD"]
)
def test_refs_that_git_does_not_allow_are_refused(repository: ObjectRepository, ref: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        repository.commit(ref, None, {"a": b""}, "no")
    assert caught.value.reason == "InvalidRef"


def test_a_commit_on_a_stale_tip_changes_nothing(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"a": b"1"}, "1")
    second = repository.commit(STATUS, first, {"a": b"2"}, "2")
    with pytest.raises(StaleTip):
        repository.commit(STATUS, first, {"a": b"3"}, "3")
    with pytest.raises(StaleTip):
        repository.commit(STATUS, None, {"a": b"3"}, "3")
    with pytest.raises(StaleTip):
        repository.commit("refs/heads/other", first, {"a": b"3"}, "3")
    assert repository.fetch() == {STATUS: second}


def test_a_parentless_commit_replaces_the_one_before(repository: ObjectRepository) -> None:
    agent = "refs/gitvirt/agent"
    first = repository.commit(agent, None, {"a": b"1", "b": b"2"}, "1", parentless=True)
    second = repository.commit(agent, first, {"a": b"3"}, "2", parentless=True)
    assert repository.fetch() == {agent: second}
    assert repository.commit_info(second).parents == ()
    assert content(repository, second) == {"a": b"3"}
    with pytest.raises(StaleTip):
        repository.commit(agent, first, {"a": b"4"}, "3", parentless=True)


def test_files_are_sorted_and_relative_to_the_folder(repository: ObjectRepository) -> None:
    names = ["a.b", "a/x", "a-b", "a0", "ä", "b/c/d", "b/c.d"]
    first = repository.commit(STATUS, None, dict.fromkeys(names, b""), "1")
    assert [file.path for file in repository.files(first)] == sorted(names)
    assert [file.path for file in repository.files(first, "b")] == ["c.d", "c/d"]
    for same in (".", "./", "/"):
        assert len(list(repository.files(first, same))) == len(names)
    assert [file.path for file in repository.files(first, "./b/c/")] == ["d"]
    for missing in ("c", "a0", "a0/x", "..", "b/c/d/e"):
        assert list(repository.files(first, missing)) == []


def test_unchanged_folders_are_listed_with_the_same_instances(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"a/x": b"1", "b/y": b"2"}, "1")
    before = list(repository.files(first))
    second = repository.commit(STATUS, first, {"b/y": b"3"}, "2")
    after = list(repository.files(second))
    assert after[0] is before[0]
    assert after[1] != before[1]


def test_reads_of_single_files(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"n/b": b"four"}, "1")
    [file] = repository.files(first)
    assert file == TreeFile("n/b", file.blob, "file")
    assert repository.size(file.blob) == 4
    assert repository.read_path(first, "n/b") == b"four"
    for missing in ("n", "n/c", "n/b/c", "", "../n/b"):
        assert repository.read_path(first, missing) is None


def test_resolve_takes_refs_branches_and_ids(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"a": b"1"}, "1")
    repository.fetch()
    for revision in (STATUS, "status", first, first[:10]):
        assert repository.resolve(revision) == first
    for revision in ("other", "refs/heads/other", "0" * 40, "", "..", "a b", "-x", "refs/../x"):
        assert repository.resolve(revision) is None
    tree = repository.tree_id(first)
    assert tree is not None
    assert repository.resolve(tree) is None


def test_an_abbreviation_of_two_commits_is_an_error() -> None:
    repository = MemoryRepository()
    seen: dict[str, str] = {}
    tip = repository.commit(STATUS, None, {}, "look for a twin")
    while tip[:4] not in seen:
        seen[tip[:4]] = tip
        tip = repository.commit(STATUS, tip, {}, "look for a twin")
    with pytest.raises(RepositoryError) as caught:
        repository.resolve(tip[:4])
    assert caught.value.reason == "AmbiguousRevision"
    assert repository.resolve(tip[:20]) == tip


def test_log_follows_first_parents_and_knows_what_changed_a_file(
    repository: ObjectRepository,
) -> None:
    tip = None
    made = []
    for number in range(4):
        changes: dict[str, bytes | None] = {"always": str(number).encode()}
        if number in (1, 3):
            changes["n/rare"] = str(number).encode()
        tip = repository.commit(STATUS, tip, changes, f"number {number}")
        made.append(tip)
    assert tip is not None
    assert [info.id for info in repository.log(tip)] == made[::-1]
    assert [info.subject for info in repository.log(tip, limit=2)] == ["number 3", "number 2"]
    assert [info.id for info in repository.log(tip, "n/rare")] == [made[3], made[1]]
    assert list(repository.log(tip, "never")) == []


def test_ids_that_are_not_there_are_errors_with_a_reason(repository: ObjectRepository) -> None:
    repository.fetch()
    first = repository.commit(STATUS, None, {"a": b"1"}, "1")
    blob = next(repository.files(first)).blob
    for read, argument, reason in (
        (repository.read, "1" * 40, "ObjectMissing"),
        (repository.commit_info, "1" * 40, "ObjectMissing"),
        (repository.read, "../../etc/passwd", "InvalidId"),
        (repository.read, first, "WrongObject"),
        (repository.commit_info, blob, "WrongObject"),
    ):
        with pytest.raises(RepositoryError) as caught:
            read(argument)
        assert caught.value.reason == reason


def test_messages_survive_whatever_they_hold(repository: ObjectRepository) -> None:
    first = repository.commit(STATUS, None, {"a": b"1"}, "größer \ud800\n\nBody: x\n\nlast\n")
    info = repository.commit_info(first)
    assert (info.subject, info.body) == ("größer ?", "Body: x\n\nlast")


def test_a_branch_begins_beside_another_one_and_just_once(repository: ObjectRepository) -> None:
    main = repository.commit(MAIN, None, {"a": b"1", "n/b": b"2"}, "1")
    aside = "refs/heads/clone/default/vm"
    repository.fetch()
    first = repository.commit(aside, None, {"n/c": b"3"}, "2", beside=main)
    assert repository.fetch() == {MAIN: main, aside: first}
    assert repository.commit_info(first).parents == (main,)
    assert content(repository, first) == {"a": b"1", "n/b": b"2", "n/c": b"3"}
    with pytest.raises(StaleTip):
        repository.commit(aside, None, {"n/d": b"4"}, "3", beside=main)
    assert repository.fetch() == {MAIN: main, aside: first}
    second = repository.commit(aside, first, {"n/d": b"4"}, "4", beside=main)
    assert repository.commit_info(second).parents == (first,)
