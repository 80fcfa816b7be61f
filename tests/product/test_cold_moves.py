"""Machines that are off, and that go to another node to start there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.host import HostError, RawDomain
from agent.core.identity import POOL
from agent.core.migrating import Nvram
from agent.core.moves import CarryDomain, MigrateDomain
from agent.places import Pools
from agent.reconcile.housekeeping import MAKING
from tests.images.server import Faulty, serve
from tests.memory_host import Killed, Volume
from tests.plans import planned
from tests.product.test_attachments import attachment, told
from tests.product.test_disk_snapshots import snapshot
from tests.product.test_disk_snapshots import volume as snapshot_of
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.rig import condition, disk, machine, manifest


def cordoned(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"unschedulable": True, **spec},
    }


def stopped(folder: Path, pools: Pools, number: int = 2) -> Fleet:
    """A machine that was stopped on pt-1, which takes no machines any more."""
    rig = fleet(folder, pools, number)
    for host in rig.hosts.values():
        for pool in host.pools.values():
            for name, volume in pool.items():
                if "root" in name:
                    volume.content = b"what its guest has written"
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Stopped"
    rig.push({"node.yaml": cordoned("pt-1")})
    rig.settle()
    return rig


def start(rig: Fleet) -> None:
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOn"), disk()]})


def moved(rig: Fleet, at: str = "pt-2", epoch: int = 1) -> None:
    """It runs there with what it has written, and nothing of it is anywhere else."""
    assert (rig.on(), rig.there()) == ([at], [at])
    assert rig.remembered(at).epoch == epoch
    assert rig.remembered(at).migration is None
    names = {node: rig.volumes(node) for node in rig.hosts}
    assert not [name for each in names.values() for name in each if "unfinished" in name]
    if not rig.pools.shared:
        assert [node for node in rig.hosts if [n for n in names[node] if "root" in n]] == [at]
    pools = rig.hosts[at].pools["gitvirt"]
    (root,) = (volume for name, volume in pools.items() if "root" in name)
    assert root.content == b"what its guest has written"
    status = rig.vm()["status"]
    assert (status["phase"], status["nodeName"], status["home"]) == ("Running", at, at)
    assert not condition(rig.vm(), "Migrating")
    assert not condition(rig.vm(), "DriftDetected")


@pytest.fixture(params=["shared", "local"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return stopped(tmp_path, SHARED if request.param == "shared" else Pools())


def test_it_stays_while_it_is_off(rig: Fleet) -> None:
    docs = rig.documents()
    rig.now += 1000
    rig.settle()
    assert rig.there() == ["pt-1"]
    assert rig.documents() == docs


def test_it_goes_to_a_node_that_takes_it_when_it_starts(rig: Fleet) -> None:
    start(rig)
    rig.settle()
    moved(rig)
    state = rig.vm()["status"]["migrationState"]
    assert (state["source"], state["target"]) == ({"node": "pt-1"}, {"node": "pt-2"})
    assert state["result"] == "Succeeded"
    docs = rig.documents()
    rig.now += 1000
    rig.settle()
    assert rig.documents() == docs


# -- what can come between -----------------------------------------------------------------------


class Stage:
    """Numbers everything that is done to both hosts; `fault` is called at the number that is meant."""

    def __init__(self, rig: Fleet, number: int, fault: Callable[[], None]) -> None:
        self.rig, self.number, self.fault = rig, number, fault
        self.seen: list[str] = []
        for node, host in rig.hosts.items():
            host.on_effect = self._hook(node)

    def _hook(self, node: str) -> Callable[[str, str], None]:
        def effect(verb: str, phase: str) -> None:
            if verb == "ensure_pool":
                return
            assert len(self.rig.on()) <= 1, f"it runs twice at {verb}"
            self.seen.append(f"{node} {verb} {phase}")
            if len(self.seen) == self.number:
                self.fault()

        return effect


def die() -> None:
    raise Killed


def run(rig: Fleet) -> None:
    try:
        rig.settle()
    except Killed:
        for host in rig.hosts.values():  # libvirt goes on with a start that it has begun
            raw = host._domains.get(rig.uuid())
            if raw is not None and raw.starting:
                host.comes_up(rig.uuid())
        rig.start()
        rig.settle()


def test_the_stages(tmp_path: Path) -> None:
    rig = stopped(tmp_path, Pools())
    stage = Stage(rig, 0, die)
    start(rig)
    rig.settle()
    moved(rig)
    seen = [each.removesuffix(" after") for each in stage.seen if each.endswith("after")]
    assert [each for each in seen if "_volume" not in each] == [
        "pt-1 define",  # what is to be, with that it is to be on
        "pt-1 define",  # the mark
        "pt-2 define",
        "pt-1 undefine",
        "pt-2 define",  # without the mark
        "pt-2 start",
        "pt-2 define",  # the next instance
    ]
    assert seen.index("pt-1 undefine") < seen.index("pt-1 delete_volume")
    assert len(stage.seen) < STAGES


STAGES = 32


@pytest.mark.parametrize("number", range(1, STAGES))
def test_the_agent_dies_at_each_stage(tmp_path: Path, number: int) -> None:
    rig = stopped(tmp_path, Pools())
    Stage(rig, number, die)
    start(rig)
    run(rig)
    moved(rig)


@pytest.mark.parametrize("number", range(2, STAGES, 6))
@pytest.mark.parametrize("node", ["pt-1", "pt-2"])
def test_a_node_is_lost_at_each_stage_and_comes_back(
    tmp_path: Path, node: str, number: int
) -> None:
    rig = stopped(tmp_path, Pools())
    Stage(rig, number, rig.hosts[node].disconnect)
    start(rig)
    rig.go(20)
    assert len(rig.on()) <= 1
    rig.hosts[node].reconnect()
    rig.settle()
    moved(rig)


@pytest.mark.parametrize("number", range(1, STAGES, 3))
def test_a_revert_at_each_stage_leaves_it_whole_on_one_node(tmp_path: Path, number: int) -> None:
    """Stopped again, and its node is free again: wherever it is then it is whole, and nowhere else."""
    rig = stopped(tmp_path, Pools())

    def revert() -> None:
        rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()], "node.yaml": None})

    stage = Stage(rig, number, revert)
    start(rig)
    rig.settle()
    rig.settle()
    assert len(stage.seen) > number
    assert rig.on() == []
    (at,) = rig.there()
    start(rig)
    rig.settle()
    moved(rig, at, epoch=rig.remembered(at).epoch)


def test_one_that_need_not_go_any_more_starts_where_it_is(tmp_path: Path) -> None:
    rig = stopped(tmp_path, Pools())

    def free(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after"):
            rig.push({"node.yaml": None})

    rig.hosts["pt-2"].on_effect = free
    start(rig)
    rig.go(20)
    # that it had gone on already is as well
    (at,) = rig.on()
    moved(rig, at)


def test_a_start_by_hand_meanwhile_is_respected(tmp_path: Path) -> None:
    rig = stopped(tmp_path, Pools())

    def by_hand(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "before") and not rig.on():
            rig.hosts["pt-1"].start(rig.uuid())

    rig.hosts["pt-2"].on_effect = by_hand
    start(rig)
    rig.go(10)
    (at,) = rig.on()
    rig.hosts["pt-2"].on_effect = lambda _verb, _phase: None
    rig.settle()
    moved(rig, at)
    assert at == "pt-1"


@pytest.mark.parametrize("stays", ["snapshots", "space"])
def test_one_that_cannot_go_stays_and_says_so(tmp_path: Path, stays: str) -> None:
    rig = stopped(tmp_path, Pools())
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]
    if stays == "snapshots":
        source.snapshots_of[rig.uuid()] = 1
    else:
        target.free = 5
    start(rig)
    rig.go(20)
    assert (rig.on(), rig.there()) == ([], ["pt-1"])
    told = condition(rig.vm(), "Migrating").get("message", "")
    expected = {"snapshots": "virsh snapshot-delete", "space": "are free"}
    assert expected[stays] in told
    source.snapshots_of.clear()
    target.free = 1 << 40
    rig.now += 400
    rig.settle()
    moved(rig)


def test_one_whose_state_is_saved_stays(tmp_path: Path) -> None:
    rig = stopped(tmp_path, Pools())
    source = rig.hosts["pt-1"]
    source._put(replace(source._domains[rig.uuid()], managed_save=True))
    start(rig)
    rig.go(20)
    assert rig.there() == ["pt-1"]


@pytest.mark.parametrize("why", ["selector", "taint", "full"])
def test_it_goes_for_whatever_its_node_does_not_take_it(tmp_path: Path, why: str) -> None:
    rig = fleet(tmp_path, SHARED, 2)
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    spec: dict[str, Any] = {"runPolicy": "AlwaysOn"}
    files: dict[str, Any] = {}
    if why == "selector":
        labelled = {"apiVersion": "v1", "kind": "Node"}
        files["node.yaml"] = {**labelled, "metadata": {"name": "pt-2", "labels": {"a": "b"}}}
        spec["nodeSelector"] = {"a": "b"}
    elif why == "taint":
        taint = {"key": "a", "effect": "NoSchedule"}
        files["node.yaml"] = cordoned("pt-1", unschedulable=False, taints=[taint])
    else:
        size = rig.hosts["pt-1"].node.memory - (3 << 30)
        big = machine("big", disks=("big",), memory={"size": f"{size >> 20}Mi"})
        only = {"kubernetes.io/hostname": "pt-1"}
        big["spec"]["nodeSelector"] = only
        rig.push({"big.yaml": [big, disk("big")]})
        rig.settle()
        assert rig.on("big") == ["pt-1"]
        spec["memory"] = {"size": "4Gi"}
    rig.push({"vm.yaml": [machine(**spec), disk()], **files})
    rig.settle()
    assert (rig.on(), rig.there()) == (["pt-2"], ["pt-2"])


@pytest.mark.parametrize("live", [True, False])
def test_a_plan_names_the_move(tmp_path: Path, live: bool) -> None:
    rig = stopped(tmp_path, Pools())
    item = planned(rig, {"vm.yaml": [machine(runPolicy="AlwaysOn"), disk()]}, live=live)["vm"]
    assert item.actions == ["DefineDomain", "CarryDomain", "LeaveSource", "StartDomain"]


def test_it_takes_along_its_image_and_what_is_attached_and_leaves_its_snapshots(
    tmp_path: Path,
) -> None:
    rig = fleet(tmp_path, Pools(), 2)
    with Faulty() as server:
        server.routes["/base.img"] = serve(bytes(510) + b"\x55\xaa" + bytes(512))
        http = {"type": "HTTP", "http": {"url": server.url("/base.img")}}
        image = manifest(
            "VirtualImage", "base", {"storage": "ContainerRegistry", "dataSource": http}
        )
        ref = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "base"}}
        data = manifest("VirtualDisk", "data", {"dataSource": ref})
        rig.push(
            {
                "data.yaml": [image, data, attachment()],
                "snap.yaml": snapshot(requiredConsistency=False),
            }
        )
        rig.settle()
    assert rig.on() == ["pt-1"]
    assert told(rig)["status"]["phase"] == "Attached"
    for name, volume in rig.hosts["pt-1"].pools[POOL].items():
        if "_disk_" in name:
            volume.content = name.encode()
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    rig.push({"node.yaml": cordoned("pt-1")})
    rig.settle()
    start(rig)
    rig.settle()
    assert (rig.on(), rig.there()) == (["pt-2"], ["pt-2"])
    there = rig.hosts["pt-2"].pools[POOL]
    disks = {name: volume for name, volume in there.items() if "_disk_" in name}
    assert len(disks) == 2
    assert {volume.content for volume in disks.values()} == {name.encode() for name in disks}
    (base,) = (volume for name, volume in there.items() if "_image_" in name)
    assert base.path in {volume.backing_path for volume in disks.values()}
    assert [name for name in rig.volumes("pt-1") if "_disk_" in name] == []
    assert told(rig)["status"]["phase"] == "Attached"
    status = rig.document("namespaces/default/virtualimages/base.yaml")["status"]
    assert status["nodes"] == [
        {"name": "pt-1", "phase": "Ready"},
        {"name": "pt-2", "phase": "Ready"},
    ]
    kept = rig.document("namespaces/default/virtualdisksnapshots/snap.yaml")["status"]
    assert kept["phase"] == "Ready"
    assert snapshot_of(rig, "snap") in rig.volumes("pt-1")


def test_one_that_is_off_says_that_its_node_takes_no_machines(tmp_path: Path) -> None:
    rig = stopped(tmp_path, Pools())
    said = condition(rig.vm(), "Schedulable")
    assert (said["status"], said["reason"]) == ("False", "Unschedulable")
    assert "stays on node pt-1 while it is off" in said["message"]
    rig.push({"node.yaml": None})
    rig.settle()
    assert condition(rig.vm(), "Schedulable") == {}


def with_firmware(folder: Path) -> Fleet:
    """It has run with EFI, which remembers something."""
    rig = fleet(folder, Pools(), 2)
    rig.push({"vm.yaml": [machine(bootloader="EFI", runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    rig.push({"vm.yaml": [machine(bootloader="EFI"), disk()]})
    rig.settle()
    rig.hosts["pt-1"].nvram["default.vm"] = (Nvram("default.vm_VARS.fd", b"boot order"),)
    rig.push({"vm.yaml": [machine(bootloader="EFI", runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    rig.push({"node.yaml": cordoned("pt-1")})
    rig.settle()
    return rig


def test_what_its_firmware_remembers_goes_along(tmp_path: Path) -> None:
    rig = with_firmware(tmp_path)
    rig.push({"vm.yaml": [machine(bootloader="EFI"), disk()]})
    rig.settle()
    assert (rig.on(), rig.there()) == (["pt-2"], ["pt-2"])
    assert rig.hosts["pt-2"].nvram["default.vm"][0].content == b"boot order"
    assert rig.hosts["pt-1"].nvram == {}


@pytest.mark.parametrize(
    ("named", "at"),
    [
        ("<nvram>/var/lib/libvirt/qemu/nvram/default.vm_VARS.fd</nvram>", "pt-2"),
        ("<nvram>/var/lib/libvirt/qemu/nvram/before_VARS.fd</nvram>", "pt-1"),
        ("<nvram>/srv/default.vm_VARS.fd</nvram>", "pt-1"),
        ("<nvram type='file'><source file='/srv/default.vm_VARS.fd'/></nvram>", "pt-1"),
    ],
)
def test_one_whose_firmware_remembers_elsewhere_stays(tmp_path: Path, named: str, at: str) -> None:
    rig = with_firmware(tmp_path)
    source = rig.hosts["pt-1"]
    raw = source._domains[rig.uuid()]
    source._put(replace(raw, inactive_xml=raw.inactive_xml.replace("</os>", f"{named}</os>")))
    rig.push({"vm.yaml": [machine(bootloader="EFI"), disk()]})
    rig.go(30)
    assert rig.there() == [at]
    assert list(rig.hosts[at].nvram) == ["default.vm"]


def test_what_its_firmware_remembers_stays_with_one_that_is_given_up(tmp_path: Path) -> None:
    rig = with_firmware(tmp_path)
    off = {"vm.yaml": [machine(bootloader="EFI", runPolicy="AlwaysOff"), disk()]}

    def die(verb: str, phase: str) -> None:
        if (verb, phase) == ("write_nvram", "after"):
            rig.push(off)
            raise Killed

    rig.hosts["pt-2"].on_effect = die
    rig.push({"vm.yaml": [machine(bootloader="EFI"), disk()]})
    with pytest.raises(Killed):
        rig.settle()
    rig.hosts["pt-2"].on_effect = lambda _verb, _phase: None
    rig.agent = rig.start()
    rig.settle()
    assert rig.there() == ["pt-1"]
    assert rig.hosts["pt-1"].nvram["default.vm"][0].content == b"boot order"
    assert rig.hosts["pt-2"].nvram == {}
    assert [name for name in rig.volumes("pt-2") if "root" in name] == []


@pytest.mark.parametrize("whose", ["alike", "renamed", "kept"])
def test_what_other_firmware_remembers_on_the_target_stays(tmp_path: Path, whose: str) -> None:
    rig = with_firmware(tmp_path)
    target = rig.hosts["pt-2"]
    file = "/var/lib/libvirt/qemu/nvram/default.vm_VARS.fd"
    xml = f"<domain><name>x</name><os><nvram>{file}</nvram></os></domain>"
    if whose != "kept":
        name = "default.vm" if whose == "alike" else "other"
        target._put(RawDomain("5e", name, "shutoff", "unknown", xml))
    remembered = (Nvram("default.vm_VARS.fd", b"of another one"),)
    target.nvram["default.vm"] = remembered

    def die(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after"):
            raise Killed

    target.on_effect = die
    rig.push({"vm.yaml": [machine(bootloader="EFI"), disk()]})
    with pytest.raises(Killed):
        rig.settle()
    target.on_effect = lambda _verb, _phase: None
    rig.agent = rig.start()
    if whose != "kept":
        rig.go(20)
        assert "another one" in condition(rig.vm(), "Migrating")["message"]
    rig.push({"vm.yaml": [machine(bootloader="EFI", runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    assert rig.there() == ["pt-1"]
    assert rig.remembered("pt-1").migration is None
    assert target.nvram["default.vm"] == remembered


def test_what_was_written_on_its_old_node_after_it_was_taken_is_kept(tmp_path: Path) -> None:
    """The agent dies as soon as the target has it; then somebody uses what is left, and ends it."""
    rig = stopped(tmp_path, Pools())
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]

    def die(verb: str, phase: str) -> None:
        if (verb, phase) == ("define", "after"):
            raise Killed

    target.on_effect = die
    start(rig)
    with pytest.raises(Killed):
        rig.settle()
    target.on_effect = lambda _verb, _phase: None
    (root,) = (name for name in rig.volumes("pt-1") if "root" in name)
    source.start(rig.uuid())
    source.pools[POOL][root].content = b"written since"
    source.destroy(rig.uuid())
    rig.agent = rig.start()
    rig.go(20)
    assert rig.on() == []
    assert source.pools[POOL][root].content == b"written since"
    assert rig.there() == ["pt-1", "pt-2"]
    assert "written to after it was copied" in str(rig.vm()["status"]["conditions"])
    source.delete_volume(POOL, root)  # the copy is the right one
    rig.now += 400
    rig.settle()
    moved(rig)


def test_a_definition_that_comes_late_does_not_make_half_a_copy_count(tmp_path: Path) -> None:
    """The target hangs at the definition, and carries it out once the next attempt has begun."""
    rig = stopped(tmp_path, Pools())
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]
    (root,) = (name for name in rig.volumes("pt-1") if "root" in name)
    late: list[str] = []
    define = target.define

    def hang(xml: str) -> None:
        late.append(xml)
        raise HostError("Timeout", "it does not answer")

    def die(verb: str, phase: str) -> None:
        if late and (verb, phase) == ("create_volume", "after") and root in target.pools[POOL]:
            raise Killed

    target.define = hang  # type: ignore[method-assign]
    target.on_effect = die
    start(rig)
    with pytest.raises(Killed):
        rig.settle()
    target.define = define  # type: ignore[method-assign]
    target.on_effect = lambda _verb, _phase: None
    target.define(late[0])
    assert target.pools[POOL][root].content == b""
    rig.agent = rig.start()
    rig.go(20)
    assert rig.on() == []
    assert source.pools[POOL][root].content == b"what its guest has written"
    assert "is not whole in the new one" in str(rig.vm()["status"]["conditions"])
    target.undefine(rig.uuid())
    rig.now += 400
    rig.settle()
    moved(rig)


def based(folder: Path) -> Fleet:
    """A machine on pt-1 that is off and has a disk that is based on an image."""
    rig = fleet(folder, Pools(), 2)
    with Faulty() as server:
        server.routes["/base.img"] = serve(bytes(510) + b"\x55\xaa" + bytes(512))
        http = {"type": "HTTP", "http": {"url": server.url("/base.img")}}
        image = manifest(
            "VirtualImage", "base", {"storage": "ContainerRegistry", "dataSource": http}
        )
        ref = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "base"}}
        data = manifest("VirtualDisk", "data", {"dataSource": ref})
        rig.push({"image.yaml": image, "data.yaml": data, **vm_with("AlwaysOn")})
        rig.settle()
    rig.push(vm_with("AlwaysOff"))
    rig.settle()
    rig.push({"node.yaml": cordoned("pt-1")})
    rig.settle()
    assert [name for name in rig.volumes("pt-2") if "_image_" in name] == []
    return rig


def vm_with(policy: str) -> dict[str, Any]:
    return {"vm.yaml": [machine(runPolicy=policy, disks=("root", "data")), disk()]}


def image_of(rig: Fleet, node: str) -> tuple[str, Volume]:
    (found,) = ((n, v) for n, v in rig.hosts[node].pools[POOL].items() if "_image_" in n)
    return found


@pytest.mark.parametrize("used", [False, True])
def test_half_an_image_on_the_target_is_none(tmp_path: Path, used: bool) -> None:
    rig = based(tmp_path)
    name, whole = image_of(rig, "pt-1")
    half = replace(whole, content=whole.content[:100])
    pool = rig.hosts["pt-2"].pools[POOL]
    pool[name] = half
    if used:
        path = f"{whole.path.rpartition('/')[0]}/mine.qcow2"
        pool["mine.qcow2"] = Volume(path, 512, backing_path=whole.path)
    rig.push(vm_with("AlwaysOn"))
    rig.go(20)
    if used:
        assert (rig.on(), pool[name]) == ([], half)
        assert "mine.qcow2" in condition(rig.vm(), "Migrating")["message"]
    else:
        assert (rig.on(), pool[name].content) == (["pt-2"], whole.content)


def test_an_image_that_others_have_brought_meanwhile_is_left_alone(tmp_path: Path) -> None:
    rig = based(tmp_path)
    name, whole = image_of(rig, "pt-1")
    brought = replace(whole, content=b"x" * len(whole.content))
    pool = rig.hosts["pt-2"].pools[POOL]

    def bring(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after"):
            pool.setdefault(name, brought)

    rig.hosts["pt-2"].on_effect = bring
    rig.push(vm_with("AlwaysOn"))
    rig.settle()
    assert rig.on() == ["pt-2"]
    assert pool[name] is brought
    assert {*brought.content} == {*b"x"}


@pytest.mark.parametrize("there", ["nothing", "older"])
def test_a_pool_that_is_only_said_to_be_shared_takes_nobody_elsewhere(
    tmp_path: Path, there: str
) -> None:
    rig = stopped(tmp_path, SHARED)
    source, target = rig.hosts["pt-1"], rig.hosts["pt-2"]
    (root,) = (name for name in rig.volumes("pt-1") if "root" in name)
    assert target.pools is source.pools
    pool = {name: replace(each) for name, each in source.pools[POOL].items()}
    target.pools = {**source.pools, POOL: pool}
    if there == "nothing":
        del pool[root]
    else:
        pool[root].content = b"of an earlier time"
    target.disconnect()
    rig.go(20)
    target.reconnect()  # from now on nobody has seen that both have the same
    rig.settle()
    start(rig)
    rig.go(20)
    assert (rig.on(), rig.there()) == ([], ["pt-1"])
    assert "is said to be shared" in condition(rig.vm(), "Migrating")["message"]
    target.pools = source.pools
    rig.now += 400
    rig.settle()
    moved(rig)


def test_what_takes_a_machine_along_is_work_that_leftovers_are_not_looked_for_beside() -> None:
    """What it brings is half there for hours, and nobody refers to it yet."""
    assert {CarryDomain.__name__, MigrateDomain.__name__} <= MAKING


def test_what_was_brought_and_has_gone_again_is_missed_before_the_machine_follows(
    tmp_path: Path,
) -> None:
    rig = based(tmp_path)
    name, _ = image_of(rig, "pt-1")
    pool, target = rig.hosts["pt-2"].pools[POOL], rig.hosts["pt-2"]

    def lose(verb: str, phase: str) -> None:
        if (verb, phase) == ("upload_volume", "after") and any("_data_" in each for each in pool):
            pool.pop(name, None)

    target.on_effect = lose
    rig.push(vm_with("AlwaysOn"))
    rig.go(20)
    assert (rig.on(), rig.there()) == ([], ["pt-1"])
    target.on_effect = lambda _verb, _phase: None
    rig.now += 400
    rig.settle()
    assert rig.on() == ["pt-2"]
    assert name in pool
