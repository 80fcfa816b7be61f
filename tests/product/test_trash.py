"""What is deleted can come back for a while, then it is erased, and never anything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from agent.core.actions import ImportImage
from agent.core.host import HostError, RawDomain
from agent.core.identity import disk_volume
from agent.core.known import JOB
from agent.core.model import Key
from agent.gitrepo.repository import RepositoryError
from agent.reconcile.housekeeping import EVERY, GRACE
from tests.memory_host import Killed, Volume
from tests.memory_repository import MemoryRepository
from tests.product.faults import Effects, FragileRepository
from tests.rig import STATUS, Rig, condition, disk, machine, manifest

DAY = 86400.0
POOL = "gitvirt"


def uid(rig: Rig, name: str = "data") -> str:
    found: str = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["metadata"]["uid"]
    return found


def volume(of: str, name: str = "data") -> str:
    return disk_volume("default", Key("VirtualDisk", "default", name), of)


def trash(rig: Rig) -> dict[str, dict[str, Any]]:
    return {path: rig.document(path) for path in rig.documents() if path.startswith("trash/")}


def entry(rig: Rig) -> dict[str, Any]:
    (only,) = trash(rig).values()
    return only


def later(rig: Rig, seconds: float) -> None:
    rig.now += seconds
    rig.settle()


@pytest.fixture
def kept(rig: Rig) -> str:
    """A disk that stands beside one in the trash; gives the deleted one's uid."""
    rig.push({"data.yaml": disk("data"), "other.yaml": disk("other")})
    rig.settle()
    found = uid(rig)
    rig.push({"data.yaml": None})
    rig.settle()
    rig.verbs()
    return found


@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "another-agent"])
def test_a_revert_brings_the_disk_back(rig: Rig, kept: str, restarted: bool) -> None:
    assert entry(rig)["status"]["phase"] == "Deleted"
    assert entry(rig)["status"]["capacity"] == "1Gi"
    created = entry(rig)["metadata"]["creationTimestamp"]
    assert volume(kept) in rig.host.pools[POOL]
    later(rig, 6 * DAY)
    if restarted:
        rig.start()
    rig.push({"elsewhere/data.yaml": disk("data")})
    rig.settle()
    back = rig.document("namespaces/default/virtualdisks/data.yaml")
    assert (back["metadata"]["uid"], back["metadata"]["creationTimestamp"]) == (kept, created)
    assert back["metadata"]["generation"] == 2
    assert "deletionTimestamp" not in back["metadata"]
    assert back["status"]["phase"] == "Ready"
    assert trash(rig) == {}
    later(rig, 30 * DAY)
    assert rig.verbs() == []


@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "another-agent"])
def test_a_disk_that_is_to_be_made_from_something_else_stands_beside_the_old_data(
    rig: Rig, kept: str, restarted: bool
) -> None:
    image = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "golden"}}
    other = disk("data")
    other["spec"]["dataSource"] = image
    if restarted:
        rig.start()
    rig.push({"data.yaml": other})
    assert rig.settle().problems == ()
    assert uid(rig) != kept
    assert entry(rig)["metadata"]["uid"] == kept
    rig.push({"data.yaml": None})
    rig.settle()
    assert len(trash(rig)) == 2
    rig.push({"data.yaml": disk("data")})
    assert rig.settle().problems == ()
    assert uid(rig) == kept
    assert rig.verbs() == []


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_a_machine_keeps_its_disk_beside_an_old_one_when_the_ledger_is_lost(
    rig: Rig, on: bool
) -> None:
    policy = "AlwaysOn" if on else "AlwaysOff"
    rig.push({"vm.yaml": [disk("data"), machine(disks=("data",), runPolicy=policy)]})
    rig.settle()
    before = uid(rig)
    image_data(rig, volume("13a39c64-d9e7-491a-a37e-c819c4283af7"))  # of a deleted disk "data"
    rig.verbs()
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[STATUS]
    rig.start()
    rig.settle()
    assert uid(rig) == before
    assert rig.verbs() == []


def test_a_disk_in_the_trash_whose_volume_is_lost_is_not_replaced_by_an_empty_one(
    rig: Rig, kept: str
) -> None:
    rig.host.pools[POOL].pop(volume(kept))
    rig.start()
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    assert rig.document("namespaces/default/virtualdisks/data.yaml")["status"]["phase"] == "PVCLost"
    assert rig.verbs() == []


def test_after_its_time_it_is_erased(rig: Rig, kept: str) -> None:
    later(rig, 7 * DAY - 60)
    assert rig.verbs() == []
    assert entry(rig)["status"]["phase"] == "Deleted"
    seen: list[str] = []

    def watch(verb: str, phase: str) -> None:
        if (verb, phase) == ("delete_volume", "before"):
            seen.append(entry(rig)["status"]["phase"])

    rig.host.on_effect = watch
    rig.now += 60
    rig.settle()
    assert seen == ["Erasing"]  # Git knew it before
    assert rig.verbs() == ["delete_volume"]
    assert set(rig.host.pools[POOL]) == {volume(uid(rig, "other"), "other")}
    assert trash(rig) == {}
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    assert uid(rig) != kept


def test_the_time_counts_from_when_the_disk_was_free(rig: Rig) -> None:
    rig.push({"vm.yaml": machine(disks=("data",)), "data.yaml": disk("data")})
    rig.settle()
    rig.push({"data.yaml": None})
    rig.settle()
    assert trash(rig) == {}
    later(rig, 20 * DAY)
    rig.push({"vm.yaml": None, "other.yaml": disk("other")})
    rig.settle()
    assert entry(rig)["status"]["phase"] == "Deleted"
    later(rig, 6 * DAY)
    assert len(trash(rig)) == 1
    later(rig, DAY)
    assert trash(rig) == {}


def test_what_is_being_erased_does_not_come_back(rig: Rig, kept: str) -> None:
    def busy(verb: str, _phase: str) -> None:
        if verb == "delete_volume":
            raise HostError("HypervisorError", "the pool is busy")

    rig.host.on_effect = busy
    later(rig, 7 * DAY)
    assert entry(rig)["status"]["phase"] == "Erasing"
    assert "the pool is busy" in entry(rig)["status"]["conditions"][0]["message"]
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    new = uid(rig)
    assert new != kept
    assert {volume(kept), volume(new)} <= rig.host.pools[POOL].keys()
    rig.push({"data.yaml": None})  # a second one of that name in the trash
    rig.settle()
    assert {each["metadata"]["uid"] for each in trash(rig).values()} == {kept, new}
    rig.host.on_effect = lambda _verb, _phase: None
    later(rig, 3600)
    assert entry(rig)["metadata"]["uid"] == new
    assert volume(kept) not in rig.host.pools[POOL]
    assert volume(new) in rig.host.pools[POOL]


def foreign(path: str, *, on: bool) -> RawDomain:
    xml = f"<domain><name>theirs</name><devices><disk><source file='{path}'/></disk></devices></domain>"
    other = "<domain><name>theirs</name></domain>"
    state = "running" if on else "shutoff"
    return RawDomain("u-1", "theirs", state, "booted", other if on else xml, xml if on else "")


@pytest.mark.parametrize("on", [False, True], ids=["inactive", "active"])
@pytest.mark.parametrize("known", [False, True], ids=["unknown-so-far", "known"])
def test_a_foreign_domain_keeps_a_volume(rig: Rig, kept: str, on: bool, known: bool) -> None:
    path = rig.host.pools[POOL][volume(kept)].path
    if not known:
        rig.host._subscribers.clear()
        rig.now += 7 * DAY - 600
        rig.settle()  # the last full read before the time is over
        rig.now += 600 - 1
        rig.host._domains["u-1"] = foreign(path, on=on)
        rig.now += 1
    else:
        rig.host._domains["u-1"] = foreign(path, on=on)
        rig.host._tell("u-1", "lifecycle")
        rig.settle()
        rig.now += 7 * DAY
    rig.settle()
    assert rig.verbs() == []
    assert "domain theirs" in entry(rig)["status"]["conditions"][0]["message"]
    tip = rig.repo.fetch()[STATUS]
    later(rig, 3 * 3600)
    assert rig.repo.fetch()[STATUS] == tip  # said once
    rig.host._domains.pop("u-1")
    later(rig, 3600)
    assert rig.verbs() == ["delete_volume"]
    assert trash(rig) == {}


def test_an_overlay_keeps_its_base(rig: Rig, kept: str) -> None:
    path = rig.host.pools[POOL][volume(kept)].path
    rig.host.pools[POOL]["theirs.qcow2"] = Volume(f"/x/{POOL}/theirs.qcow2", 1, backing_path=path)
    later(rig, 8 * DAY)
    assert rig.verbs() == []
    assert "volume theirs.qcow2" in entry(rig)["status"]["conditions"][0]["message"]
    rig.push({"data.yaml": disk("data")})  # it was not marked yet
    rig.settle()
    assert uid(rig) == kept


def test_nothing_is_erased_before_the_status_branch_says_so(
    rig: Rig, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another agent, that knows nothing of it, would bring the disk back without its data."""
    commit = rig.repo.commit

    def refused(ref: str, *arguments: Any, **options: Any) -> str:
        if ref == STATUS:
            raise RepositoryError("Unreachable", "the repository is away")
        return commit(ref, *arguments, **options)

    monkeypatch.setattr(rig.repo, "commit", refused)
    rig.now += 8 * DAY
    for _ in range(20):
        rig.step()
        rig.now += EVERY
    assert rig.verbs() == []
    assert entry(rig)["status"]["phase"] == "Deleted"
    monkeypatch.undo()
    later(rig, EVERY)
    later(rig, EVERY)
    assert rig.verbs() == ["delete_volume"]


def test_a_domain_that_appears_after_the_mark_keeps_the_volume(rig: Rig, kept: str) -> None:
    """The check is made again on the host, right before the volume would go."""
    path = rig.host.pools[POOL][volume(kept)].path
    rig.now += 7 * DAY
    rig.agent.reconciler.look_at_git()
    while entry(rig)["status"]["phase"] != "Erasing":
        rig.step()
    rig.host._domains["u-1"] = foreign(path, on=True)
    rig.settle()
    assert rig.verbs() == []
    assert entry(rig)["status"]["phase"] == "Erasing"
    assert "domain theirs" in entry(rig)["status"]["conditions"][0]["message"]


def test_killed_at_each_step_of_an_erasure(tmp_path: Path) -> None:
    steps: list[str] = []

    def erase(folder: Path, fault: Callable[[int, str, str], None]) -> Rig:
        rig = Rig(folder)
        repository = FragileRepository(lambda: rig.now)
        rig.repo = repository
        rig.start()
        rig.push({"data.yaml": disk("data"), "other.yaml": disk("other")})
        rig.settle()
        rig.push({"data.yaml": None})
        rig.settle()
        effects = Effects(fault)
        rig.host.on_effect = repository.effects = effects
        rig.now += 7 * DAY
        while True:
            try:
                rig.settle()
                break
            except Killed:
                rig.start()
        steps[:] = effects.done
        return rig

    def no_fault(_at: int, _what: str, _phase: str) -> None:
        pass

    erase(tmp_path / "plain", no_fault)
    plain = list(steps)
    assert plain == ["push", "delete_volume", "push"]
    for number in range(1, len(plain) + 1):
        for phase in ("before", "after"):

            def kill(at: int, _what: str, when: str, n: int = number, p: str = phase) -> None:
                if (at, when) == (n, p):
                    raise Killed

            rig = erase(tmp_path / f"{number}-{phase}", kill)
            assert trash(rig) == {}
            assert set(rig.host.pools[POOL]) == {volume(uid(rig, "other"), "other")}


# -- image data -------------------------------------------------------------------------------

DIGEST = "ab" * 32


def image_data(rig: Rig, name: str) -> str:
    path = f"/var/lib/libvirt/{POOL}/{name}"
    rig.host.pools[POOL][name] = Volume(path, 1, content=b"x")
    return path


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        (f"default_image_{DIGEST}.qcow2", True),
        (f"default_image_{DIGEST}.iso", True),
        (f"other_image_{DIGEST}.qcow2", False),
        (f"default_image_{DIGEST}.qcow2.bak", False),
        (f"default_image_{DIGEST[:-1]}.qcow2", False),
        ("default_image_mine.qcow2", False),
        (f"my_default_image_{DIGEST}.qcow2", False),
        ("default_disk_default_lost_x.qcow2", False),
    ],
)
def test_only_image_data_of_ones_own_is_garbage(rig: Rig, name: str, goes: bool) -> None:
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    rig.verbs()
    image_data(rig, name)
    later(rig, 301)  # a full read sees it
    later(rig, GRACE - 1)
    assert name in rig.host.pools[POOL]
    later(rig, 400)
    assert (name not in rig.host.pools[POOL]) is goes
    assert rig.verbs() == (["delete_volume"] if goes else [])


def imported(rig: Rig, kind: str) -> str:
    """An object whose data is there, as its status says."""
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    name = f"default_image_{DIGEST}.qcow2"
    image_data(rig, name)
    http = {"dataSource": {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/x.qcow2"}}}
    if kind != "VirtualDisk":
        http["storage"] = "ContainerRegistry"  # type: ignore[assignment]
    if kind == "ClusterVirtualImage":
        del http["storage"]
    rig.push({"image.yaml": manifest(kind, "image", http)})
    rig.agent.reconciler.look_at_git()
    rig._tasks.clear()
    rig.downloads = deque()
    facts = {"digest": DIGEST, "format": "qcow2", "storedBytes": 1, "unpackedBytes": 1}
    reconciler = rig.agent.reconciler
    for _ in range(5):
        rig.step()
        key = Key(kind, "" if kind == "ClusterVirtualImage" else "default", "image")
        job = reconciler._engine.get(JOB, key)
        if job is not None and job.busy:
            (download,) = reconciler._acting.busy.pop(key)[1].actions
            assert isinstance(download, ImportImage)
            result = {**facts, "source": download.source.mark}
            reconciler._engine.put(JOB, key, replace(job, busy=(), result=result))
    rig._tasks.clear()
    rig.downloads = None
    reconciler.post(_full_read(rig))
    rig.settle()
    return name


def _full_read(rig: Rig) -> object:
    from agent.reconcile.world import FullRead

    return FullRead(rig.agent.reconciler.next_number(), rig.host.read(frozenset({POOL})))


@pytest.mark.parametrize("kind", ["VirtualImage", "ClusterVirtualImage", "VirtualDisk"])
def test_data_that_an_object_was_made_to_have_stays_as_long_as_it(rig: Rig, kind: str) -> None:
    name = imported(rig, kind)
    assert rig.agent.reconciler.summary().wrong == ()
    rig.verbs()
    later(rig, 10 * GRACE)
    later(rig, 10 * GRACE)
    assert name in rig.host.pools[POOL]
    rig.start()
    later(rig, 10 * GRACE)
    assert name in rig.host.pools[POOL]
    rig.push({"image.yaml": None})
    rig.settle()
    later(rig, EVERY)
    later(rig, GRACE + 400)
    if kind == "VirtualDisk":
        assert name in rig.host.pools[POOL]  # the disk in the trash is an overlay on it
        later(rig, 8 * DAY)
        later(rig, EVERY)
        later(rig, GRACE + 400)
    assert name not in rig.host.pools[POOL]


def test_nothing_is_collected_while_an_import_has_not_ended(rig: Rig) -> None:
    """Its data may be just what lies there, for a ledger that was lost."""
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    name = f"default_image_{DIGEST}.qcow2"
    image_data(rig, name)
    http = {"dataSource": {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/x.qcow2"}}}
    rig.push({"image.yaml": manifest("ClusterVirtualImage", "image", http)})
    rig.agent.reconciler.look_at_git()
    for _ in range(40):
        rig.now += 300
        rig.step()
    assert name in rig.host.pools[POOL]
    rig.push({"image.yaml": None, "broken.yaml": "a: [\n"})
    rig.settle()
    later(rig, 2 * GRACE)
    later(rig, 2 * GRACE)
    assert name in rig.host.pools[POOL]  # nor while a manifest cannot be read
    slip = {**manifest("ClusterVirtualImage", "image", http), "kind": "ClusterImage"}
    rig.push({"broken.yaml": None, "image.yaml": slip})
    rig.settle()
    later(rig, 2 * GRACE)
    later(rig, 2 * GRACE)
    assert name in rig.host.pools[POOL]  # nor while one may be meant that does not hold
    other = {**manifest("VirtualMachine", "other", {}), "apiVersion": "kubevirt.io/v1"}
    rig.push({"image.yaml": other})
    rig.settle()
    later(rig, 2 * GRACE)
    later(rig, 2 * GRACE)
    assert name not in rig.host.pools[POOL]  # what needs no images holds none


def test_a_domain_keeps_image_data(rig: Rig) -> None:
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    name = f"default_image_{DIGEST}.iso"
    rig.host._domains["u-1"] = foreign(image_data(rig, name), on=False)
    rig.host._tell("", "connected")
    rig.settle()
    later(rig, 2 * GRACE)
    later(rig, 2 * GRACE)
    assert name in rig.host.pools[POOL]


def test_of_two_volumes_that_may_be_a_disks_none_is_guessed(rig: Rig, kept: str) -> None:
    """The ledger is lost, and with it the word that one of them is in the trash."""
    other = disk("data")
    other["spec"]["persistentVolumeClaim"]["size"] = "2Gi"
    rig.push({"data.yaml": None})
    rig.settle()
    pool = rig.host.pools[POOL]
    twin = volume("11111111-1111-4111-8111-111111111111")
    pool[twin] = pool[volume(kept)]
    before = set(pool)
    rig.repo.refs.pop(STATUS)  # type: ignore[attr-defined]
    rig.start()
    rig.push({"data.yaml": other})
    (problem,) = rig.settle().problems
    assert problem.resource == "VirtualDisk default/data"
    assert volume(kept) in problem.message
    assert twin in problem.message
    assert set(pool) == before
    del pool[twin]
    rig.start()
    assert rig.settle().problems == ()
    assert uid(rig) == kept


# -- what nobody can look into -----------------------------------------------------------------


def erased(rig: Rig) -> bool:
    return not [path for path in rig.documents() if path.startswith("trash/")]


@pytest.fixture
def trashed(rig: Rig) -> Rig:
    """A disk in the trash whose time is almost over, and a domain that is not ours."""
    rig.push({"data.yaml": disk("data"), "other.yaml": disk("other")})
    rig.settle()
    rig.push({"data.yaml": None})
    rig.settle()
    return rig


def define_foreign(rig: Rig, path: str, driver: str = "qcow2") -> None:
    rig.host.define(
        "<domain><name>theirs</name><uuid>00000000-0000-4000-8000-000000000001</uuid><devices>"
        f"<disk><driver type='{driver}'/><source file='{path}'/></disk></devices></domain>"
    )


def time_is_over(rig: Rig) -> None:
    rig.now += 8 * DAY
    rig.settle()
    rig.now += EVERY
    rig.settle()


def test_a_base_is_kept_while_nobody_can_tell_what_a_domain_lies_on(trashed: Rig) -> None:
    define_foreign(trashed, "/srv/theirs.qcow2")
    time_is_over(trashed)
    (path,) = (path for path in trashed.documents() if path.startswith("trash/"))
    assert "/srv/theirs.qcow2" in condition(trashed.document(path), "Deleted")["message"]
    trashed.host._drop("00000000-0000-4000-8000-000000000001")
    time_is_over(trashed)
    assert erased(trashed)


@pytest.mark.parametrize("driver", ["raw", "qcow2"])
def test_a_base_goes_where_it_is_known_that_nothing_lies_on_it(trashed: Rig, driver: str) -> None:
    if driver == "raw":
        define_foreign(trashed, "/srv/theirs.raw", "raw")
    else:  # one that lies in a pool, on a base there
        trashed.host.ensure_pool("theirs")
        for name, base in (("base", ""), ("top", "/var/lib/libvirt/theirs/base")):
            trashed.host.create_volume(
                "theirs",
                f"<volume><name>{name}</name><capacity>1</capacity><target><format type='qcow2'/>"
                f"</target><backingStore><path>{base}</path></backingStore></volume>",
            )
        define_foreign(trashed, "/var/lib/libvirt/theirs/top")
    time_is_over(trashed)
    assert erased(trashed)


def test_a_base_goes_where_what_runs_shows_all_that_it_lies_on(trashed: Rig) -> None:
    define_foreign(trashed, "/srv/theirs.qcow2")
    uuid = "00000000-0000-4000-8000-000000000001"
    trashed.host.start(uuid)

    def chain(root: etree._Element) -> None:
        element = root.find("devices/disk")
        assert element is not None
        etree.SubElement(element, "backingStore")

    trashed.host.edit(uuid, chain, live=True)
    time_is_over(trashed)
    assert erased(trashed)


def test_a_host_whose_pools_cannot_be_looked_through_keeps_all(trashed: Rig) -> None:
    def broken() -> dict[str, str]:
        raise HostError("HypervisorError", "cannot read the storage pools: a disk is broken")

    trashed.host.read_bases = broken  # type: ignore[method-assign]
    time_is_over(trashed)
    assert not erased(trashed)
