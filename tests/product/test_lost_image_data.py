"""Image data that nobody can bring again is known by a mark beside it where the ledger is lost, and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.identity import POOL, known_data
from agent.reconcile.housekeeping import GRACE
from tests.memory_host import Killed
from tests.memory_repository import MemoryRepository
from tests.product.test_object_sources import DATA, copied, fill, image
from tests.product.test_uploads import DISK, KINDS, put, status, uploads, wants
from tests.rig import STATUS, Rig, disk, machine

IMAGES = KINDS[:2]


def lose_ledger(rig: Rig) -> None:
    """And all that the agent knew."""
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[STATUS]
    rig.start()
    rig.settle()


def marks(rig: Rig) -> list[str]:
    return [name for name in rig.host.pools[POOL] if known_data("default", name)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def uploaded(rig: Rig, kind: str) -> dict[str, Any]:
    """An image whose file has been taken in; its status."""
    rig.push({"image.yaml": wants(kind), "other.yaml": disk("other")})
    rig.settle()
    put(rig, kind)
    rig.now += 6
    rig.settle()
    assert status(rig, kind)["phase"] == "Ready"
    return status(rig, kind)


@pytest.mark.parametrize("kind", IMAGES)
def test_an_uploaded_image_is_there_again(rig: Rig, kind: str) -> None:
    before = uploaded(rig, kind)
    rig.verbs()
    lose_ledger(rig)
    after = status(rig, kind)
    for field in ("phase", "digest", "format", "size"):
        assert after[field] == before[field]
    assert rig.verbs() == []
    rig.now += 2 * GRACE
    rig.settle()
    rig.now += 2 * GRACE
    rig.settle()
    assert len(marks(rig)) == 1
    assert status(rig, kind)["phase"] == "Ready"


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_kill_while_it_is_taken_in_loses_neither_file_nor_mark(rig: Rig, moment: int) -> None:
    kind = "VirtualImage"
    rig.push({"image.yaml": wants(kind)})
    rig.settle()
    put(rig, kind)
    left = [moment]

    def die(verb: str, _phase: str) -> None:
        left[0] -= verb != "ensure_pool"
        if left[0] == 0:
            raise Killed

    rig.host.on_effect = die
    rig.now += 6
    try:
        rig.settle()
    except Killed:
        rig.host.on_effect = lambda _verb, _phase: None
        rig.start()
        rig.settle()
    rig.host.on_effect = lambda _verb, _phase: None
    lose_ledger(rig)
    assert status(rig, kind)["phase"] == "Ready"
    assert (len(marks(rig)), uploads(rig)) == (1, [])


def test_data_that_is_not_whole_any_more_is_asked_for_again(rig: Rig) -> None:
    uploaded(rig, "VirtualImage")
    (name,) = [name for name in rig.host.pools[POOL] if "_image_" in name]
    rig.host.pools[POOL][name].content = DISK[:-1]
    lose_ledger(rig)
    assert status(rig, "VirtualImage")["phase"] == "WaitForUserUpload"


def test_a_new_image_of_that_name_waits_for_a_file_of_its_own(rig: Rig) -> None:
    uploaded(rig, "VirtualImage")
    rig.push({"image.yaml": None})
    rig.settle()
    rig.push({"image.yaml": wants("VirtualImage")})
    rig.settle()
    assert status(rig, "VirtualImage")["phase"] == "WaitForUserUpload"


def test_marks_of_what_is_gone_go(rig: Rig) -> None:
    uploaded(rig, "VirtualImage")
    rig.push({"image.yaml": None})
    rig.settle()
    for _ in range(3):
        rig.now += 2 * GRACE
        rig.settle()
    assert marks(rig) == []
    assert not [name for name in rig.host.pools[POOL] if "_image_" in name]


def test_of_two_marks_nobody_can_tell_which_counts(rig: Rig) -> None:
    uploaded(rig, "VirtualImage")
    (name,) = marks(rig)
    pool = rig.host.pools[POOL]
    pool[name.replace(status_uid(rig), "0" * 8 + status_uid(rig)[8:])] = pool[name]
    lose_ledger(rig)
    assert status(rig, "VirtualImage")["phase"] == "WaitForUserUpload"


def status_uid(rig: Rig) -> str:
    found: str = rig.document("namespaces/default/virtualimages/image.yaml")["metadata"]["uid"]
    return found


def test_an_image_of_a_disk_is_there_again_also_while_its_disk_is_open_or_gone(rig: Rig) -> None:
    rig.push({"root.yaml": disk(), "other.yaml": disk("other")})
    rig.settle()
    fill(rig, DATA)
    rig.push({"image.yaml": image("golden", "VirtualDisk", "root")})
    rig.settle()
    name = copied(rig)
    rig.push({"vm.yaml": machine()})
    rig.settle()
    fill(rig, b"written later")
    rig.verbs()
    lose_ledger(rig)
    assert rig.running()
    assert copied(rig) == name
    rig.push({"vm.yaml": None, "root.yaml": None})
    rig.settle()
    rig.now += 8 * 86_400
    rig.settle()
    lose_ledger(rig)
    assert copied(rig) == name
    assert rig.host.pools[POOL][name].content == DATA
