"""A local repository while real Git and other processes work in it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dulwich.objects import ObjectID
from dulwich.refs import Ref

from agent.gitrepo import disk
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.objects import ObjectRepository
from agent.gitrepo.repository import RepositoryError, StaleTip
from tests.gitrepo.git import bare, git, put, raw_tree

STATUS = "refs/heads/status"
MAIN = "refs/heads/main"

WRITER = """
import sys
from pathlib import Path
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import StaleTip
with LocalRepository(Path(sys.argv[1])) as repository:
    for number in range(int(sys.argv[3])):
        while True:
            tip = repository.fetch().get("refs/heads/status")
            try:
                repository.commit(
                    "refs/heads/status", tip, {f"{sys.argv[2]}/{number}": b"x"}, "write"
                )
                break
            except StaleTip:
                pass
"""


def test_real_git_accepts_what_is_written(root: Path, local: LocalRepository) -> None:
    first = local.commit(STATUS, None, {"a": b"1", "n/b": b"2", "n-b": b"3"}, "begin")
    second = local.commit(STATUS, first, {"n/b": b"4"}, "go on")
    assert git(root, "fsck", "--strict", "--full") == ""
    assert git(root, "rev-parse", "status") == second
    assert git(root, "show", "status:n/b") == "4"
    assert git(root, "show", "-s", "--format=%an|%ce|%cI", "status") == (
        "gitvirt|gitvirt@localhost|2023-11-14T22:13:20+00:00"
    )
    assert git(root, "diff", "--name-only", first, second) == "n/b"


def test_many_objects_are_written_as_one_pack(root: Path, local: LocalRepository) -> None:
    files: dict[str, bytes | None] = {f"n{at % 7}/{at}": b"%d" % at for at in range(150)}
    first = local.commit(STATUS, None, files, "begin")
    assert len(list(root.glob("objects/pack/pack-*.pack"))) == 1
    assert not [
        each for each in root.glob("objects/*/*") if each.parent.name not in ("pack", "info")
    ]
    assert local.read_path(first, "n3/3") == b"3"
    assert git(root, "fsck", "--strict", "--full") == ""
    local.commit(STATUS, first, {"n3/3": b"again"}, "one more")
    assert len(list(root.glob("objects/pack/pack-*.pack"))) == 1
    with LocalRepository(root) as other:
        assert other.read_path(other.fetch()[STATUS], "n3/3") == b"again"


def test_two_processes_that_commit_at_once_lose_nothing(root: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, str(root), name, "50"])
        for name in ("ada", "bob")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    listed = git(root, "ls-tree", "-r", "--name-only", "status").splitlines()
    assert len(listed) == 100
    assert git(root, "rev-list", "--count", "status") == "100"
    assert git(root, "fsck", "--full", "--no-dangling") == ""


def test_a_pack_for_which_there_is_no_room_leaves_nothing_behind(
    root: Path, local: LocalRepository
) -> None:
    files = {f"{number}": os.urandom(2000) for number in range(200)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RepositoryError, match="must have room"):
            local.commit(STATUS, None, files, "many")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(root.glob("objects/pack/*")) == []
    local.commit(STATUS, None, files, "many")
    git(root, "fsck", "--strict")


def test_threads_that_commit_while_git_packs_lose_nothing(root: Path) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with LocalRepository(root) as repository:
                for number in range(25):
                    while True:
                        tip = repository.fetch().get(STATUS)
                        try:
                            repository.commit(STATUS, tip, {f"{name}/{number}": b""}, "write")
                            break
                        except StaleTip:
                            pass
        except BaseException as error:
            failures.append(error)
            raise

    def pack() -> None:
        while not done.is_set():
            git(root, "pack-refs", "--all")
            git(root, "repack", "-q", "-a", "-d")

    writers = [threading.Thread(target=write, args=(name,)) for name in ("ada", "bob")]
    packer = threading.Thread(target=pack)
    for thread in (*writers, packer):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    packer.join()
    assert failures == []
    assert git(root, "rev-list", "--count", "status") == "50"


def test_everything_stays_readable_through_gc_and_new_packs(
    root: Path, local: LocalRepository
) -> None:
    commits = [put(root, {"a": str(number), f"n/{number}": "x" * 500}) for number in range(20)]
    seen = local.fetch()[MAIN]
    blobs = [file.blob for file in local.files(seen)]
    git(root, "gc", "--aggressive", "--prune=now", "-q")
    assert [local.read(blob)[:1] for blob in blobs] == [b"1", b"x"]
    newer = put(root, {"a": "new"})
    git(root, "repack", "-a", "-d", "-q", "--write-bitmap-index")
    git(root, "pack-refs", "--all")
    assert local.fetch() == {MAIN: newer}
    assert local.read_path(newer, "a") == b"new"
    made = local.commit(MAIN, newer, {"b": b"2"}, "on packed refs")
    git(root, "gc", "--aggressive", "--prune=now", "-q")
    assert [info.id for info in local.log(made)] == [made, newer, *commits[::-1]]


def test_a_pack_that_came_later_is_found(
    root: Path, tmp_path: Path, local: LocalRepository
) -> None:
    put(root, {"a": "1"})
    git(root, "repack", "-a", "-d", "-q")
    local.commit_info(local.fetch()[MAIN])
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), str(clone))
    (clone / "b").write_text("2")
    git(clone, "add", "b")
    git(clone, "commit", "-q", "-m", "pushed")
    git(root, "config", "receive.unpackLimit", "1")
    git(clone, "push", "-q", "origin", "main")
    assert local.read_path(local.fetch()[MAIN], "b") == b"2"


def test_a_rewritten_branch_and_a_deleted_one(root: Path, local: LocalRepository) -> None:
    first = put(root, {"a": "1"})
    second = put(root, {"a": "2"})
    assert local.fetch() == {MAIN: second}
    git(root, "update-ref", MAIN, first)
    assert local.fetch() == {MAIN: first}
    with pytest.raises(StaleTip):
        local.commit(MAIN, second, {"a": b"3"}, "late")
    git(root, "update-ref", "-d", MAIN)
    assert local.fetch() == {}
    with pytest.raises(StaleTip):
        local.commit(MAIN, first, {"a": b"3"}, "late")
    again = local.commit(MAIN, None, {"a": b"3"}, "anew")
    assert local.fetch() == {MAIN: again}


def test_a_deleted_branch_that_was_packed_can_come_back(root: Path, local: LocalRepository) -> None:
    first = local.commit(STATUS, None, {"a": b"1"}, "1")
    git(root, "pack-refs", "--all")
    assert local.fetch() == {STATUS: first}
    with pytest.raises(StaleTip):
        local.commit(STATUS, None, {"a": b"2"}, "2")
    git(root, "update-ref", "-d", STATUS)
    assert local.commit(STATUS, None, {"a": b"2"}, "2") == local.fetch()[STATUS]


def test_a_repository_that_is_absent_says_so_until_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "later.git"
    with LocalRepository(path) as repository:
        for _ in range(2):
            with pytest.raises(RepositoryError, match=f"{path} is no Git repository") as caught:
                repository.fetch()
            assert caught.value.reason == "RepositoryNotFound"
        assert repository.watch_paths() == (path,)
        bare(path)
        assert repository.fetch() == {}
        first = put(path, {"a": "1"})
        assert repository.fetch() == {MAIN: first}
        shutil.rmtree(path)
        with pytest.raises(RepositoryError) as caught:
            repository.fetch()
        assert caught.value.reason == "RepositoryNotFound"
        bare(path)
        assert repository.fetch() == {}
        second = put(path, {"b": "2"})
        assert repository.read_path(repository.fetch()[MAIN], "b") == b"2"
        with pytest.raises(StaleTip):
            repository.commit(MAIN, first, {"a": b"3"}, "on the old one")
        assert repository.fetch() == {MAIN: second}


def test_a_clone_is_opened_at_its_root_and_at_its_git_folder(root: Path, tmp_path: Path) -> None:
    first = put(root, {"a": "1"})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), str(clone))
    linked = tmp_path / "linked"
    git(clone, "worktree", "add", "-q", str(linked), "-b", "side")
    for path in (clone, clone / ".git", linked):
        with LocalRepository(path) as repository:
            assert repository.fetch() == {MAIN: first, "refs/heads/side": first}
            assert [found.resolve() for found in repository.watch_paths()] == [clone / ".git"]
            assert repository.resolve("HEAD") == first
            assert repository.resolve("origin/main") == first


def test_objects_of_an_alternate_are_read(root: Path, tmp_path: Path) -> None:
    first = put(root, {"a": "1"})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--shared", str(root), str(clone))
    with LocalRepository(clone) as repository:
        assert repository.read_path(first, "a") == b"1"
        git(root, "gc", "-q", "--prune=now")
        second = put(root, {"a": "2"})
        git(clone, "update-ref", MAIN, second)
        assert repository.read_path(repository.fetch()[MAIN], "a") == b"2"
        made = repository.commit(MAIN, second, {"b": b"3"}, "on an alternate's tree")
        assert git(clone, "show", f"{made}:b") == "3"


def test_a_thousand_refs_and_strange_ones(root: Path, local: LocalRepository) -> None:
    first = put(root, {"a": "1"})
    names = [f"refs/heads/many/{number}" for number in range(1000)]
    names += ["refs/heads/ünï/cødé", "refs/heads/@", "refs/heads/%41&=;$(x)", "refs/gitvirt/x/y"]
    git(
        root,
        "update-ref",
        "--stdin",
        stdin="".join(f"create {n} {first}\n" for n in names).encode(),
    )
    git(root, "update-ref", "refs/notes/other", first)
    git(root, "tag", "v1", first)
    expected = dict.fromkeys([*names, MAIN], first)
    assert local.fetch() == expected
    git(root, "pack-refs", "--all")
    assert local.fetch() == expected


def test_refs_that_are_broken_or_no_text_are_left_out(root: Path, local: LocalRepository) -> None:
    first = put(root, {"a": "1"})
    heads = root / "refs/heads"
    (heads / "empty").write_bytes(b"")
    (heads / "garbage").write_bytes(b"no id at all\n")
    (heads / "alias").write_bytes(b"ref: refs/heads/main\n")
    (heads / "loop").write_bytes(b"ref: refs/heads/loop\n")
    (heads / "dangling").write_bytes(b"ref: refs/heads/nothing\n")
    (heads / "x.lock").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(heads) + b"/\xff\xfe")).write_bytes(first.encode() + b"\n")
    assert local.fetch() == {MAIN: first, "refs/heads/alias": first}
    assert local.resolve("loop") is None


@pytest.mark.parametrize("damage", [b"", b"no refs file\n", b"\xff\xfe\0"])
def test_damaged_packed_refs_are_an_error_not_an_empty_repository(
    root: Path, local: LocalRepository, damage: bytes
) -> None:
    put(root, {"a": "1"})
    (root / "packed-refs").write_bytes(damage)
    with pytest.raises(RepositoryError) as caught:
        local.fetch()
    assert caught.value.reason == "RefsCorrupt"


def test_a_damaged_object_is_an_error_and_others_stay_readable(
    root: Path, local: LocalRepository
) -> None:
    first = put(root, {"a": "1", "b": "2"})
    damaged, good = (file.blob for file in local.files(first))
    path = root / "objects" / damaged[:2] / damaged[2:]
    path.chmod(0o600)
    path.write_bytes(b"garbage")
    with pytest.raises(RepositoryError) as caught:
        local.read(damaged)
    assert caught.value.reason == "ObjectCorrupt"
    assert local.read(good) == b"2"


def test_a_lock_left_behind_is_removed_and_a_fresh_one_respected(
    root: Path, local: LocalRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LOCK_WAIT", 0.05)
    first = local.commit(STATUS, None, {"a": b"1"}, "1")
    lock = root / "refs/heads/status.lock"
    lock.touch()
    with pytest.raises(RepositoryError, match=r"status\.lock") as caught:
        local.commit(STATUS, first, {"a": b"2"}, "2")
    assert caught.value.reason == "Locked"
    assert local.fetch() == {STATUS: first}
    os.utime(lock, (1, 1))
    second = local.commit(STATUS, first, {"a": b"2"}, "2")
    assert local.fetch() == {STATUS: second}
    assert not lock.exists()


class Clock:
    """Stands for the module `time`: time goes on where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return -1e9  # files come from the future

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_lock_that_stays_the_same_counts_as_left_behind_whatever_its_time(
    root: Path, local: LocalRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local.commit(STATUS, None, {"a": b"1"}, "1")
    clock = Clock()
    monkeypatch.setattr(disk, "time", clock)
    lock = root / "refs/heads/status.lock"
    lock.touch()

    def refused() -> None:
        with pytest.raises(RepositoryError, match=r"status\.lock.* removed after 10 seconds"):
            local.commit(STATUS, first, {"a": b"2"}, "2")

    refused()
    clock.now = 9.0
    lock.unlink()
    lock.touch()  # another writer
    refused()
    clock.now = 16.5
    refused()
    assert lock.exists()
    clock.now = 18.6
    second = local.commit(STATUS, first, {"a": b"2"}, "2")
    assert local.fetch() == {STATUS: second}
    assert not lock.exists()


def test_the_lock_of_packed_refs_is_respected_longer(
    root: Path, local: LocalRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local.commit(STATUS, None, {"a": b"1"}, "1")
    clock = Clock()
    monkeypatch.setattr(disk, "time", clock)
    (root / "packed-refs.lock").touch()
    found = disk.Disk(root)
    try:
        for seconds in (0.0, 55.0):
            clock.now = seconds
            with pytest.raises(RepositoryError, match="removed after 60 seconds"):
                found.pack_refs({Ref(b"refs/heads/x"): ObjectID(first.encode())})
        clock.now = 61.0
        found.pack_refs({Ref(b"refs/heads/x"): ObjectID(first.encode())})
    finally:
        found.close()
    assert local.fetch() == {STATUS: first, "refs/heads/x": first}


def test_what_a_killed_writer_left_is_swept(root: Path, local: LocalRepository) -> None:
    tip = local.commit(STATUS, None, {"a": b"1"}, "1")
    loose = next((root / "objects").glob("[0-9a-f]?/*"))
    (root / "objects/pack").mkdir(exist_ok=True)
    dead = [
        root / f"{STATUS}.lock",
        root / "packed-refs.lock",
        loose.with_name(f"{loose.name}.lock"),
        root / "objects/pack/pack-1.idx.lock",
        root / "objects/pack/tmp_pack_x",
    ]
    alive = [
        root / "refs/heads/operations.lock",
        loose.with_name("0.lock"),
        root / "objects/pack/tmp_pack_y",
    ]
    foreign = root / "refs/heads/main.lock"
    for path in (*dead, *alive, foreign):
        path.touch()
    for path in (*dead, foreign):
        os.utime(path, (1, 1))
    local.sweep((STATUS, "refs/heads/operations", "refs/heads/none"))
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in (*alive, foreign, loose))
    assert local.fetch() == {STATUS: tip}


def test_a_ref_in_the_way_is_named(root: Path, local: LocalRepository) -> None:
    put(root, {"a": "1"}, "refs/heads/status/old")
    with pytest.raises(RepositoryError, match="status") as caught:
        local.commit(STATUS, None, {"a": b"1"}, "1")
    assert caught.value.reason == "RefConflict"
    put(root, {"a": "1"}, "refs/heads/x")
    git(root, "pack-refs", "--all")
    with pytest.raises(RepositoryError, match="refs/heads/x") as caught:
        local.commit("refs/heads/x/y", None, {"a": b"1"}, "1")
    assert caught.value.reason == "RefConflict"


def test_folders_that_deleted_branches_left_are_not_in_the_way(
    root: Path, local: LocalRepository
) -> None:
    (root / "refs/heads/status/old/er").mkdir(parents=True)
    assert local.commit(STATUS, None, {"a": b"1"}, "1") == local.fetch()[STATUS]


def test_repositories_with_unknown_extensions_are_refused(tmp_path: Path) -> None:
    for name, arguments in (("sha256", ["--object-format=sha256"]), ("odd", [])):
        path = tmp_path / name
        path.mkdir()
        git(path, "init", "-q", "--bare", *arguments)
    git(tmp_path / "odd", "config", "core.repositoryFormatVersion", "1")
    git(tmp_path / "odd", "config", "extensions.invented", "true")
    for name in ("sha256", "odd"):
        with LocalRepository(tmp_path / name) as repository:
            with pytest.raises(RepositoryError) as caught:
                repository.fetch()
            assert caught.value.reason == "UnsupportedRepository"


def test_tags_are_peeled_and_a_branch_comes_first(root: Path, real: ObjectRepository) -> None:
    first = put(root, {"a": "1"})
    git(root, "tag", "-a", "v1", "-m", "annotated", first)
    git(root, "tag", "-a", "v2", "-m", "of a tag", "v1")
    git(root, "tag", "blob", git(root, "rev-parse", f"{first}:a"))
    second = put(root, {"a": "2"})
    git(root, "tag", "main", first)
    real.fetch()
    assert real.resolve("v1") == real.resolve("v2") == real.resolve("refs/tags/v1") == first
    assert real.resolve("main") == second
    assert real.resolve("blob") is None
    assert real.resolve("v3") is None


def test_symlinks_and_submodules_are_listed_as_such(root: Path, real: ObjectRepository) -> None:
    blob = git(root, "hash-object", "-w", "--stdin", stdin=b"/etc/passwd")
    tree = git(
        root,
        "mktree",
        "--missing",
        stdin=(
            f"120000 blob {blob}\tlink\n160000 commit {'1' * 40}\tmodule\n"
            f"100755 blob {blob}\tprogram\n100644 blob {blob}\tfile\n"
        ).encode(),
    )
    commit = git(root, "commit-tree", tree, "-m", "kinds")
    git(root, "update-ref", MAIN, commit)
    assert real.fetch() == {MAIN: commit}
    assert [(file.path, file.kind) for file in real.files(commit)] == [
        ("file", "file"),
        ("link", "symlink"),
        ("module", "submodule"),
        ("program", "file"),
    ]
    assert real.read_path(commit, "link") is None
    assert real.read_path(commit, "module/x") is None
    assert real.tree_id(commit, "module") is None


def test_hostile_names_are_shown_and_change_nothing(root: Path, real: ObjectRepository) -> None:
    blob = git(root, "hash-object", "-w", "--stdin", stdin=b"x")
    inner = raw_tree(root, [("100644", b"passwd", blob)])
    names = [b"..", b".git", b"a\nb", b"\xff", b"\x1b[31m"]
    tree = raw_tree(
        root, [("40000", b"..", inner), *(("100644", name, blob) for name in names[1:])]
    )
    commit = git(root, "commit-tree", tree, "-m", "hostile")
    git(root, "update-ref", MAIN, commit)
    real.fetch()
    paths = [file.path for file in real.files(commit)]
    assert paths == ["../passwd", ".git", "a\nb", "\\xff", "\x1b[31m"]
    assert "".join(paths).encode()
    assert real.read_path(commit, "a\nb") == b"x"
    made = real.commit(MAIN, commit, {"new": b"1"}, "beside them")
    assert len(list(real.files(made))) == 6


def test_a_tree_that_contains_itself_many_times_over_is_refused(
    root: Path, local: LocalRepository
) -> None:
    for bottom in ([("100644", "blob")], []):
        blob = git(root, "hash-object", "-w", "--stdin", stdin=b"x")
        tree = raw_tree(root, [(mode, b"f", blob) for mode, _ in bottom])
        for _ in range(10):
            tree = raw_tree(root, [("40000", b"%d" % n, tree) for n in range(10)])
        commit = git(root, "commit-tree", tree, "-m", "bomb")
        with pytest.raises(RepositoryError) as caught:
            local.files(commit)
        assert caught.value.reason == "TooManyFiles"


def test_a_tree_nested_too_deeply_is_refused(root: Path, local: LocalRepository) -> None:
    blob = git(root, "hash-object", "-w", "--stdin", stdin=b"x")
    tree = raw_tree(root, [("100644", b"f", blob)])
    for _ in range(120):
        tree = raw_tree(root, [("40000", b"d", tree)])
    with pytest.raises(RepositoryError) as caught:
        local.files(git(root, "commit-tree", tree, "-m", "deep"))
    assert caught.value.reason == "TooManyFiles"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"tree zzz\n\nx",
        b"author a <b> 1 +0000\n\nx",
        b"tree " + b"1" * 40 + b"\n\nno committer",
        b"tree " + b"1" * 40 + b"\ncommitter x <y> soon +0000\n\nx",
    ],
)
def test_a_malformed_commit_is_an_error(root: Path, local: LocalRepository, raw: bytes) -> None:
    commit = git(root, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw)
    with pytest.raises(RepositoryError) as caught:
        local.commit_info(commit)
    assert caught.value.reason == "ObjectCorrupt"


def test_a_malformed_tree_is_an_error(root: Path, local: LocalRepository) -> None:
    tree = git(
        root, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"100644 cut"
    )
    with pytest.raises(RepositoryError) as caught:
        local.files(git(root, "commit-tree", tree, "-m", "cut"))
    assert caught.value.reason == "ObjectCorrupt"


def test_the_log_of_a_shallow_clone_ends_where_it_ends(root: Path, tmp_path: Path) -> None:
    commits = [put(root, {"a": str(number)}) for number in range(3)]
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{root}", str(clone))
    with LocalRepository(clone) as repository:
        assert [info.id for info in repository.log(commits[2])] == [commits[2], commits[1]]
