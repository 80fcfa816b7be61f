"""What an object's size costs: its header, however much it stands for."""

from __future__ import annotations

import random
import string
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.gitrepo import remote as remote_module
from agent.gitrepo.http import SmartHttpClient
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.objects import ObjectRepository
from agent.gitrepo.remote import LARGE, RemoteRepository
from agent.gitrepo.repository import RepositoryError
from agent.gitrepo.sizes import largest_of
from tests.gitrepo.git import ENVIRONMENT, GitServer, git, put

MIB = 1024**2
ZEROS = bytes(MIB)


def bomb(repository: Path, mebibytes: int) -> str:
    """A blob of zeros, of which Git keeps a thousandth."""
    arguments = ["git", "hash-object", "-w", "--stdin"]
    with subprocess.Popen(
        arguments, cwd=repository, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(mebibytes):
            process.stdin.write(ZEROS)
        process.stdin.close()
        return process.stdout.read().decode().strip()


def put_bomb(repository: Path, mebibytes: int, ref: str = "refs/heads/main") -> str:
    """A commit with nothing but such a blob, whose id this gives."""
    blob = bomb(repository, mebibytes)
    tree = git(repository, "mktree", stdin=f"100644 blob {blob}\tbomb.yaml\n".encode())
    git(repository, "update-ref", ref, git(repository, "commit-tree", tree, "-m", "bomb"))
    return blob


def memory_of(work: Callable[[], object]) -> int:
    """The most bytes that this takes at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_every_object_has_the_size_that_git_gives(
    local: LocalRepository, root: Path, packed: bool
) -> None:
    lines = "".join(f"line: {number} of many\n" for number in range(2_000))
    for length in (0, 1, 15, 16, 17, 2047, 2048, 100_000):
        put(root, {"a.yaml": "x" * length, "b.yaml": f"{length}\n{lines}"})
    if packed:
        git(root, "gc", "-q")
        kinds = git(root, "cat-file", "--batch-all-objects", "--batch-check=%(deltabase)")
        assert set(kinds.splitlines()) > {"0" * 40}  # some of them are deltas
    sizes = git(
        root, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objectsize)"
    )
    for line in sizes.splitlines():
        identity, size = line.split()
        assert local.size(identity) == int(size)


def test_a_pack_that_names_the_bases_of_its_deltas(local: LocalRepository, root: Path) -> None:
    lines = "".join(f"line: {number} of many\n" for number in range(2_000))
    for number in range(3):
        commit = put(root, {"a.yaml": f"{number}\n{lines}"})
    git(root, "config", "repack.useDeltaBaseOffset", "false")
    git(root, "repack", "-q", "-a", "-d")
    kinds = git(root, "cat-file", "--batch-all-objects", "--batch-check=%(deltabase)")
    assert set(kinds.splitlines()) > {"0" * 40}
    blob = next(iter(local.files(commit))).blob
    assert local.size(blob) == len(f"2\n{lines}")
    assert {local.size(git(root, "rev-parse", f"main~{n}:a.yaml")) for n in range(3)} == {
        len(f"2\n{lines}")
    }


def test_an_object_of_another_repository_that_this_one_borrows_from(
    local: LocalRepository, root: Path, tmp_path: Path
) -> None:
    commit = put(root, {"a.yaml": "borrowed"})
    git(tmp_path, "clone", "-q", "--bare", "--shared", str(root), "borrower.git")
    with LocalRepository(tmp_path / "borrower.git") as borrower:
        (file,) = borrower.files(commit)
        assert borrower.size(file.blob) == len("borrowed")


def test_what_is_not_there_and_what_is_damaged(local: LocalRepository, root: Path) -> None:
    with pytest.raises(RepositoryError) as error:
        local.size("0" * 40)
    assert error.value.reason == "ObjectMissing"
    (file,) = local.files(put(root, {"a.yaml": "content"}))
    path = root / "objects" / file.blob[:2] / file.blob[2:]
    path.chmod(0o644)
    path.write_bytes(b"nonsense")
    with pytest.raises(RepositoryError) as error:
        local.size(file.blob)
    assert error.value.reason == "ObjectCorrupt"


@pytest.mark.parametrize("packed", [False, True])
def test_the_size_of_a_bomb_costs_no_memory(
    local: LocalRepository, root: Path, packed: bool
) -> None:
    blob = put_bomb(root, 64)
    if packed:
        git(root, "gc", "-q")
    local.fetch()
    assert memory_of(lambda: local.size(blob)) < MIB
    assert local.size(blob) == 64 * MIB


def test_a_commit_that_is_a_bomb_is_no_commit(local: LocalRepository, root: Path) -> None:
    tree = git(root, "rev-parse", f"{put(root, {'a.yaml': 'x'})}^{{tree}}")
    head = f"tree {tree}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\n".encode()
    commit = git(root, "hash-object", "-t", "commit", "-w", "--stdin", stdin=head + ZEROS * 32)
    local.fetch()

    def look() -> None:
        with pytest.raises(RepositoryError) as error:
            local.commit_info(commit)
        assert error.value.reason == "ObjectCorrupt"

    assert memory_of(look) < 4 * MIB


@pytest.fixture
def served(server: GitServer, tmp_path: Path) -> RemoteRepository:
    server.user = ""
    return RemoteRepository(SmartHttpClient(server.url("fleet.git")), tmp_path / "cache")


def test_a_server_that_filters_leaves_the_bomb_out(served: RemoteRepository, root: Path) -> None:
    git(root, "config", "uploadpack.allowFilter", "true")
    commit = put(root, {"a.yaml": "fine"})
    blob = put_bomb(root, 64, "refs/heads/bomb")
    with served:
        assert memory_of(served.fetch) < 16 * MIB
        assert served.read_path(commit, "a.yaml") == b"fine"
        assert served.size(blob) == LARGE
        with pytest.raises(RepositoryError) as error:
            served.read(blob)
        assert error.value.reason == "ObjectMissing"
        before = len(list((served._path / "objects" / "pack").glob("*.pack")))
        put(root, {"a.yaml": "more"})
        served.fetch()  # and the cache is not made anew for it
        assert len(list((served._path / "objects" / "pack").glob("*.pack"))) == before + 1


def test_what_a_server_sends_unfiltered_is_looked_at_before_it_is_taken_in(
    served: RemoteRepository, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = put(root, {"a.yaml": "fine"})
    with served:
        served.fetch()
        put_bomb(root, 64, "refs/heads/bomb")
        monkeypatch.setattr(remote_module, "_MAX_OBJECT", 32 * MIB)

        def refused() -> None:
            with pytest.raises(RepositoryError, match="delete that branch") as error:
                served.fetch()
            assert error.value.reason == "TooLarge"

        assert memory_of(refused) < 8 * MIB
        assert served.read_path(commit, "a.yaml") == b"fine"
        git(root, "update-ref", "-d", "refs/heads/bomb")
        assert served.fetch() == {"refs/heads/main": commit}


def test_the_largest_object_of_a_pack(root: Path) -> None:
    lines = "".join(f"line: {number} of many\n" for number in range(20_000))
    for number in range(3):
        put(root, {"a.yaml": f"{number}\n{lines}", "b.yaml": "small"})
    git(root, "gc", "-q")
    (pack,) = (root / "objects" / "pack").glob("*.pack")
    with pack.open("rb") as file:
        assert largest_of(file, MIB) == len(f"0\n{lines}")
    with pack.open("rb") as file:
        assert largest_of(file, 10) > 10


@pytest.mark.parametrize("end", [40, 600])
def test_a_pack_that_ends_too_early(root: Path, end: int, tmp_path: Path) -> None:
    put(root, {"a.yaml": "".join(random.Random(1).choices(string.ascii_letters, k=5_000))})
    git(root, "gc", "-q")
    (pack,) = (root / "objects" / "pack").glob("*.pack")
    short = tmp_path / "short.pack"
    short.write_bytes(pack.read_bytes()[:end])
    with short.open("rb") as file, pytest.raises(ValueError, match=r"ends within|no number"):
        largest_of(file, MIB)


def test_an_object_that_is_larger_than_its_header_says(tmp_path: Path) -> None:
    blob_of_one_byte = bytes([3 << 4 | 1])
    content = blob_of_one_byte + zlib.compress(bytes(1024))
    pack = tmp_path / "lying.pack"
    pack.write_bytes(b"PACK" + struct.pack(">LL", 2, 1) + content)
    with pack.open("rb") as file, pytest.raises(ValueError, match="larger than its header"):
        largest_of(file, MIB)


def test_the_size_of_what_others_have_just_packed(local: LocalRepository, root: Path) -> None:
    (file,) = local.files(put(root, {"a.yaml": "content"}))
    for _ in range(2):
        git(root, "repack", "-q", "-a", "-d")
        git(root, "prune-packed")
        assert local.size(file.blob) == len("content")
        put(root, {"a.yaml": "content", "b.yaml": "more"})


def contract(repository: ObjectRepository) -> int:
    commit = repository.commit("refs/heads/main", None, {"a.yaml": b"x" * 300}, "x")
    (file,) = repository.files(commit)
    return repository.size(file.blob)


def test_every_adapter_knows_sizes(repository: ObjectRepository) -> None:
    assert contract(repository) == 300
