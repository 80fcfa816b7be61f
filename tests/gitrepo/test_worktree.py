"""A folder and a commit of it look alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import RepositoryError, TreeFile
from agent.gitrepo.worktree import CommitSource, FolderSource, Source
from tests.gitrepo.git import git


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    for path in ("b.yaml", "a/x.yaml", "a-b.yaml", "a.b/y.yaml", ".hidden.yaml", "ü.yaml"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    for path in (".github/workflow.yaml", "a/.cache/z.yaml"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(path)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "folder-link").symlink_to("a")
    return folder


def listed(source: Source) -> list[tuple[str, str]]:
    return [(file.path, file.kind) for file in source.files()]


def test_folder_and_commit_have_the_same_files(folder: Path) -> None:
    expected = [
        (".hidden.yaml", "file"),
        ("a-b.yaml", "file"),
        ("a.b/y.yaml", "file"),
        ("a/x.yaml", "file"),
        ("b.yaml", "file"),
        ("folder-link", "symlink"),
        ("link", "symlink"),
        ("ü.yaml", "file"),
    ]
    on_disk = FolderSource(folder)
    assert listed(on_disk) == expected
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    assert listed(on_disk) == expected
    with LocalRepository(folder) as repository:
        commit = repository.fetch()["refs/heads/main"]
        in_commit = CommitSource(repository, commit)
        assert listed(in_commit) == expected
        sources: list[Source] = [on_disk, in_commit]
        for source in sources:
            files = {file.path: file for file in source.files()}
            assert source.read(files["ü.yaml"]) == "ü.yaml".encode()
            assert source.size(files["a/x.yaml"]) == 8
        assert (on_disk.revision, in_commit.revision) == ("", commit)
        assert listed(CommitSource(repository, commit, "a")) == [("x.yaml", "file")]


def test_symlinks_are_not_followed_when_read(folder: Path) -> None:
    source = FolderSource(folder)
    for file in source.files():
        if file.kind == "symlink":
            with pytest.raises(RepositoryError):
                source.read(file)


def test_a_clone_inside_is_a_submodule(folder: Path) -> None:
    git(folder, "init", "-q", "a")
    assert ("a", "submodule") in listed(FolderSource(folder))
    assert ("a/x.yaml", "file") not in listed(FolderSource(folder))


def test_one_file_alone(folder: Path) -> None:
    source = FolderSource(folder / "a" / "x.yaml")
    [file] = source.files()
    assert (file.path, source.read(file), source.size(file)) == ("x.yaml", b"a/x.yaml", 8)


def test_pipes_are_neither_listed_nor_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    source = FolderSource(folder)
    assert "pipe" not in dict(listed(source))
    with pytest.raises(RepositoryError, match="no ordinary file"):
        source.read(TreeFile("pipe", "", "file"))


def test_names_that_are_no_text_can_be_shown_and_read(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.yaml")).write_bytes(b"odd")
    source = FolderSource(folder)
    [odd] = [file for file in source.files() if "xff" in file.path]
    assert odd.path == "\\xff.yaml"
    assert (source.read(odd), source.size(odd)) == (b"odd", 3)


def test_large_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with (folder / "large.yaml").open("wb") as file:
        file.truncate(17 * 1024**2)
    source = FolderSource(folder)
    [large] = [found for found in source.files() if found.path == "large.yaml"]
    assert source.size(large) == 17 * 1024**2
    with pytest.raises(RepositoryError) as caught:
        source.read(large)
    assert caught.value.reason == "FileTooLarge"
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "large.yaml")
    git(folder, "commit", "-q", "-m", "large")
    with LocalRepository(folder) as repository:
        commits = CommitSource(repository, repository.fetch()["refs/heads/main"])
        with pytest.raises(RepositoryError) as caught:
            commits.read(next(commits.files()))
        assert caught.value.reason == "FileTooLarge"


def test_identity_changes_with_content(folder: Path) -> None:
    source = FolderSource(folder)
    before = {file.path: file.blob for file in source.files()}
    (folder / "b.yaml").write_text("other")
    after = {file.path: file.blob for file in source.files()}
    assert {path for path in before if before[path] != after[path]} == {"b.yaml"}


def test_a_folder_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(300):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    assert listed(FolderSource(tmp_path)) == [("d/" * 300 + "f", "file")]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="nowhere") as caught:
        FolderSource(tmp_path / "nowhere").files()
    assert caught.value.reason == "FolderUnreadable"
