"""A series of reads says what a fresh read of each commit says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model import Desired
from agent.core.schema import Catalogue
from agent.gitrepo.worktree import CommitSource
from agent.kinds.registry import CHECKS
from agent.reconcile import desired
from agent.reconcile.desired import ManifestReader
from tests.memory_repository import MemoryRepository
from tests.rig import MAIN, Rig, disk, encoded, machine

CATALOGUE = Catalogue.load()

CONTENTS: dict[str, Any] = {
    "gone": None,
    "a disk": disk("one"),
    "the disk, larger": disk("one", "2Gi"),
    "another disk": disk("two"),
    "two at once": [disk("one"), machine("vm")],
    "one twice": [disk("one"), disk("one")],
    "not valid": disk("one", "large"),
    "valid and not": [disk("two"), disk("one", "large")],
    "broken": "{{ template }}",
    "of others": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n",
}
PATHS = ("a.yaml", "team/b.yaml", "team/c.yaml", "other/d.yaml", ".hidden/e.yaml", "notes.txt")
COMMITS = st.lists(
    st.dictionaries(st.sampled_from(PATHS), st.sampled_from(sorted(CONTENTS)), min_size=1),
    min_size=2,
    max_size=6,
)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def commit(repository: MemoryRepository, files: dict[str, str]) -> CommitSource:
    changes = {path: encoded(CONTENTS[name]) for path, name in files.items()}
    tip = repository.commit(MAIN, repository.fetch().get(MAIN), changes, "change")
    return CommitSource(repository, tip)


def same(one: Desired, other: Desired) -> bool:
    return {**vars(one), "complete": None} == {**vars(other), "complete": None}


@given(COMMITS)
@settings(max_examples=60, deadline=None)
def test_a_series_reads_as_a_fresh_reader_does(commits: list[dict[str, str]]) -> None:
    repository = MemoryRepository()
    reader = ManifestReader(CATALOGUE, CHECKS)
    for files in commits:
        source = commit(repository, files)
        assert same(reader.follow(source, "main"), ManifestReader(CATALOGUE, CHECKS).read(source))


def test_a_read_of_a_series_looks_at_what_changed_only(monkeypatch: Any) -> None:
    repository = MemoryRepository()
    reader = ManifestReader(CATALOGUE, CHECKS)
    before = reader.follow(
        commit(repository, {"a.yaml": "a disk", "b.yaml": "another disk", "notes.txt": "broken"}),
        "main",
    )
    monkeypatch.setattr(desired, "assemble", None)  # nothing may need all files
    after = reader.follow(
        commit(repository, {"a.yaml": "the disk, larger", "notes.txt": "of others"}), "main"
    )
    kept = [key for key in before.manifests if before.manifests[key] is after.manifests[key]]
    assert [key.name for key in kept] == ["two"]


def test_two_series_do_not_mix() -> None:
    repository = MemoryRepository()
    reader = ManifestReader(CATALOGUE, CHECKS)
    reader.follow(commit(repository, {"a.yaml": "a disk"}), "main")
    other = commit(repository, {"a.yaml": "gone", "b.yaml": "another disk"})
    assert [key.name for key in reader.follow(other, "operations").manifests] == ["two"]


def test_what_is_forgotten_is_read_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(desired, "REMEMBERED", 0)
    repository = MemoryRepository()
    reader = ManifestReader(CATALOGUE, CHECKS)
    for name in ("a disk", "the disk, larger", "not valid", "another disk", "a disk"):
        source = commit(repository, {"a.yaml": name, "team/c.yaml": "another disk"})
        assert same(reader.follow(source, "main"), ManifestReader(CATALOGUE, CHECKS).read(source))


@pytest.mark.parametrize("name", ["a\x01.yaml", "a\n.yaml", "a\x7f/b.yaml", "a\ufffe.yaml"])
def test_a_file_with_control_characters_in_its_name_is_refused(name: str, rig: Rig) -> None:
    rig.push({name: [disk(), machine()], "good.yaml": disk("good")})
    (problem,) = rig.settle().problems
    assert problem.file == name
    assert "rename" in problem.message
    disks = [each.name for each in rig.agent.reconciler.records() if each.kind == "VirtualDisk"]
    assert disks == ["good"]
