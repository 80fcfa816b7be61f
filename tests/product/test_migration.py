"""Machines that go from node to node while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.identity import POOL
from agent.core.metadata import DomainMetadata, from_domain
from agent.kinds.virtual_machine.migration import asked
from agent.places import Pools, PoolSettings
from tests.memory_host import NODE, MemoryHost
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation

SHARED = Pools.of({"gitvirt": PoolSettings(POOL, shared=True)})


def host(number: int) -> MemoryHost:
    name = f"pt-{number}"
    return MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=f"uuid-{number}"))


class Fleet(Rig):
    """Three nodes."""

    def on(self, name: str = "vm") -> list[str]:
        """Nodes on which its guest runs."""
        uuid = self.uuid(name)
        found = ((node, each._domains.get(uuid)) for node, each in self.hosts.items())
        return [node for node, raw in found if raw is not None and raw.state == "running"]

    def there(self, name: str = "vm") -> list[str]:
        """Nodes that have its domain."""
        return [node for node, each in self.hosts.items() if self.uuid(name) in each._domains]

    def volumes(self, node: str) -> list[str]:
        return sorted(self.hosts[node].pools.get(POOL, {}))

    def remembered(self, node: str, *, active: bool = False) -> DomainMetadata:
        raw = self.hosts[node]._domains[self.uuid()]
        memory = from_domain(parse(raw.active_xml if active else raw.inactive_xml))
        assert memory is not None
        return memory

    def ask(self, kind: str = "Evict", name: str = "move", vm: str = "vm", **spec: Any) -> None:
        self.push({f"{name}.yaml": operation(name, vm, kind, **spec)}, OPERATIONS)

    def step_others(self) -> None:
        """What is to be done beside what is under way."""
        while self._tasks:
            self._tasks.popleft()()

    def go(self, steps: int = 30, seconds: float = 1.0) -> None:
        self.agent.reconciler.look_at_git()
        for _ in range(steps):
            self.step()
            self.now += seconds


def fleet(folder: Path, pools: Pools, number: int = 3) -> Fleet:
    first, *others = (host(each) for each in range(1, number + 1))
    if pools.shared:
        for each in others:
            each.pools = first.pools
        for each in (first, *others):
            each.minded = [first, *others]
    made = Fleet(folder, host=first, others=tuple(others), pools=pools)
    made.push({"vm.yaml": [machine(), disk()]})
    made.settle()
    assert made.on() == ["pt-1"]
    return made


@pytest.fixture(params=["shared", "local"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED if request.param == "shared" else Pools())


@pytest.fixture
def local(tmp_path: Path) -> Fleet:
    return fleet(tmp_path, Pools())


def whole(rig: Fleet, at: str, epoch: int = 1) -> None:
    """The machine runs there, and nothing of it is anywhere else."""
    assert (rig.on(), rig.there()) == ([at], [at])
    for active in (False, True):
        memory = rig.remembered(at, active=active)
        assert (memory.epoch, memory.migration) == (epoch, None)
    if not rig.pools.shared:
        assert [node for node in rig.hosts if rig.volumes(node)] == [at]
    assert not [name for node in rig.hosts for name in rig.volumes(node) if "unfinished" in name]
    status = rig.vm()["status"]
    assert (status["phase"], status["nodeName"], status["home"]) == ("Running", at, at)
    assert not condition(rig.vm(), "Migrating")
    assert not condition(rig.vm(), "DriftDetected")
    disk_status = rig.document("namespaces/default/virtualdisks/root.yaml")["status"]
    assert disk_status["phase"] == "Ready"
    if not rig.pools.shared:
        assert disk_status["home"] == at


@pytest.mark.promise("S240", "S241", "S251")
def test_it_goes_and_nothing_stays_behind(rig: Fleet) -> None:
    before = rig.remembered("pt-1", active=True)
    rig.ask()
    rig.settle()
    whole(rig, "pt-2")
    status = rig.vmop("move")["status"]
    assert (status["phase"], status["progress"]) == ("Completed", "100%")
    assert condition(rig.vmop("move"), "Completed")["reason"] == "Completed"
    assert rig.remembered("pt-2", active=True).instance == before.instance
    assert rig.remembered("pt-2").home == "pt-2"
    state = rig.vm()["status"]["migrationState"]
    assert (state["source"], state["target"]) == ({"node": "pt-1"}, {"node": "pt-2"})
    assert state["result"] == "Succeeded"
    assert state["startTimestamp"] <= state["endTimestamp"]
    docs = rig.documents()
    rig.now += 1000
    rig.settle()
    assert rig.documents() == docs
    rig.ask(name="back")
    rig.settle()
    whole(rig, "pt-1", epoch=2)


def status(rig: Fleet, name: str = "move") -> dict[str, Any]:
    found: dict[str, Any] = rig.vmop(name)["status"]
    return found


def why(rig: Fleet, name: str = "move") -> tuple[str, str]:
    """Phase and reason."""
    return status(rig, name)["phase"], condition(rig.vmop(name), "Completed")["reason"]


@pytest.mark.promise("S57", "S248")
def test_what_is_seen_of_it_on_the_way(local: Fleet) -> None:
    """Running on the first node, Migrating with the node still the first, Running on the second."""
    seen: list[tuple[str, str]] = []
    told: list[tuple[str, str, str]] = []

    def look(_stage: str) -> None:
        local.agent.reconciler.look_at_git()
        for _ in range(3):
            local.agent.reconciler.run()
        shown = local.vm()["status"]
        seen.append((shown["phase"], shown["nodeName"]))
        reason = condition(local.vmop("move"), "Completed")["reason"]
        told.append((status(local)["phase"], reason, status(local)["progress"]))
        moving = condition(local.vm(), "Migrating")
        assert (moving["status"], moving["reason"]) == ("True", "InProgress")
        state = shown["migrationState"]
        assert (state["source"], state["target"]) == ({"node": "pt-1"}, {"node": "pt-2"})
        assert state["startTimestamp"]
        assert "endTimestamp" not in state

    local.host.at_stage = look
    before = local.vm()["status"]
    local.ask()
    local.settle()
    assert (before["phase"], before["nodeName"]) == ("Running", "pt-1")
    assert set(seen) == {("Migrating", "pt-1")}
    assert {phase for phase, _, _ in told} == {"InProgress"}
    after = local.vm()["status"]
    assert (after["phase"], after["nodeName"]) == ("Running", "pt-2")


def test_the_phase_is_pushed_before_the_machine_leaves(local: Fleet) -> None:
    seen: list[str] = []

    def look(verb: str, phase: str) -> None:
        if (verb, phase) == ("begin_migration", "before"):
            seen.append(local.vm()["status"]["phase"])
            assert local.remembered("pt-1").migration is not None
            assert local.remembered("pt-1", active=True).migration is not None

    local.status_interval = 3600.0
    local.host.on_effect = look
    local.ask()
    local.settle()
    assert seen == ["Migrating"]


POLICIES = [
    ("AlwaysSafe", None, False),
    ("AlwaysSafe", True, "failed"),
    ("AlwaysSafe", False, False),
    ("PreferSafe", None, False),
    ("PreferSafe", True, True),
    ("PreferSafe", False, False),
    ("AlwaysForced", None, True),
    ("AlwaysForced", True, True),
    ("AlwaysForced", False, "failed"),
    ("PreferForced", None, True),
    ("PreferForced", True, True),
    ("PreferForced", False, False),
]


@pytest.mark.promise("S221", "S222", "S223", "S224", "S225", "S226", "S227", "S228")
def test_the_policy_and_the_operation_say_whether_the_guest_is_slowed_down(tmp_path: Path) -> None:
    rig = fleet(tmp_path, SHARED)
    for number, (policy, force, expected) in enumerate(POLICIES):
        rig.push({"vm.yaml": [machine(liveMigrationPolicy=policy), disk()]})
        rig.settle()
        (at,) = rig.on()
        orders = rig.hosts[at].orders
        orders.clear()
        more: dict[str, Any] = {} if force is None else {"force": force}
        rig.ask(name=f"m{number}", **more)
        rig.settle()
        if expected == "failed":
            assert why(rig, f"m{number}") == ("Failed", "NotApplicableForLiveMigrationPolicy")
            assert (rig.on(), orders) == ([at], [])
        else:
            assert why(rig, f"m{number}") == ("Completed", "Completed")
            assert [order.converge for order in orders] == [expected]


def test_a_machine_goes_to_the_node_that_is_asked_for(local: Fleet) -> None:
    local.ask("Migrate", migrate={"nodeSelector": {"kubernetes.io/hostname": "pt-3"}})
    local.settle()
    whole(local, "pt-3")


@pytest.mark.promise("S242", "S243")
def test_where_no_node_fits_it_is_said_and_given_up_in_the_end(local: Fleet) -> None:
    local.ask("Migrate", migrate={"nodeSelector": {"disktype": "ssd"}})
    local.go(20)
    assert why(local) == ("InProgress", "TargetUnschedulable")
    message = condition(local.vmop("move"), "Completed")["message"]
    assert "0/3 nodes are available" in message
    assert "nodeSelector" in message
    local.go(20, seconds=20)
    assert why(local) == ("Failed", "OperationFailed")
    assert "Timed out" in condition(local.vmop("move"), "Completed")["message"]
    whole(local, "pt-1", epoch=0)


def held(rig: Fleet, on_the_way: Callable[[], object]) -> None:
    """The machine is on its way until this has been done once."""
    host = rig.hosts["pt-1"]
    host.migrations_held = True
    done = [False]

    def stage(what: str) -> None:
        if what == "copied" and not done[0]:
            done[0] = True
            on_the_way()
            rig.agent.reconciler.look_at_git()
            for _ in range(4):
                rig.agent.reconciler.run()
                rig.step_others()
        elif what == "copied" and rig.uuid() in host.going:
            host.migrations_held = False

    host.at_stage = stage


@pytest.mark.promise("S247")
def test_an_operation_that_is_deleted_ends_its_migration(local: Fleet) -> None:
    held(local, lambda: local.push({"move.yaml": None}, OPERATIONS))
    local.ask()
    local.settle()
    assert ("abort_migration", local.uuid()) in local.host.verbs
    whole(local, "pt-1")
    assert "move" not in str(local.documents().keys())
    assert local.vm()["status"]["migrationState"]["result"] == "Failed"


def test_one_that_waits_is_withdrawn_without_a_trace(local: Fleet) -> None:
    local.hosts["pt-2"].disconnect()
    local.hosts["pt-3"].disconnect()
    local.go(15)
    local.ask()
    local.go(5)
    assert status(local)["phase"] == "InProgress"
    local.push({"move.yaml": None}, OPERATIONS)
    local.go(5)
    for node in ("pt-2", "pt-3"):
        local.hosts[node].reconnect()
    local.settle()
    whole(local, "pt-1", epoch=0)
    assert local.host.orders == []


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_a_stop_or_restart_replaces_a_migration(local: Fleet, kind: str) -> None:
    held(local, lambda: local.ask(kind, "after"))
    local.ask()
    local.settle()
    assert why(local)[0] == "Superseded"
    assert why(local, "after") == ("Completed", "OperationCompleted")
    assert local.there() == ["pt-1"]
    assert local.on() == ([] if kind == "Stop" else ["pt-1"])
    assert not [name for node in ("pt-2", "pt-3") for name in local.volumes(node)]


def test_a_second_one_is_refused_while_it_is_on_its_way(local: Fleet) -> None:
    held(local, lambda: local.ask(name="again"))
    local.ask()
    local.settle()
    assert why(local, "again") == ("Failed", "OtherMigrationInProgress")
    whole(local, "pt-2")


def test_what_is_pushed_meanwhile_waits_until_it_is_there(local: Fleet) -> None:
    changed = machine(metadata={"labels": {"a": "b"}}, cpu={"cores": 2})
    held(local, lambda: local.push({"vm.yaml": [changed, disk()]}))
    local.ask()
    local.settle()
    whole(local, "pt-2")
    assert local.remembered("pt-2", active=True).labels == {"a": "b"}
    assert condition(local.vm(), "AwaitingRestartToApplyConfiguration")["status"] == "True"


def test_one_leaves_a_node_and_one_comes_to_it_at_a_time(tmp_path: Path) -> None:
    rig = fleet(tmp_path, SHARED)
    names = [f"vm-{number}" for number in range(4)]
    for name in names:
        rig.push({f"{name}.yaml": [disk(name), machine(name, disks=(name,))]})
    rig.settle()
    most: list[int] = []

    def count(_stage: str) -> None:
        most.append(sum(len(host.going) for host in rig.hosts.values()))

    for host in rig.hosts.values():
        host.at_stage = count
    starts = {name: rig.on(name) for name in names}
    for name in names:
        rig.ask(name=f"move-{name}", vm=name)
    rig.settle()
    for name in names:
        assert rig.vmop(f"move-{name}")["status"]["phase"] == "Completed"
        assert rig.on(name) != starts[name]
    assert max(most) <= 3


def test_a_machine_that_cannot_be_moved_says_why(local: Fleet) -> None:
    serial = local.host.edit

    def device(root: Any) -> None:
        devices = root.find("devices")
        devices.append(devices.makeelement("hostdev", {"mode": "subsystem", "type": "pci"}))

    serial(local.uuid(), device, live=True)
    local.ask()
    local.settle()
    assert why(local) == ("Failed", "OperationFailed")
    moves = condition(local.vm(), "Migratable")
    assert (moves["status"], moves["reason"]) == ("False", "VirtualMachineHostDevicesNotMigratable")


def test_a_snapshot_by_hand_keeps_local_disks_where_they_are(local: Fleet) -> None:
    local.host.snapshot(local.uuid(), "/var/lib/libvirt/images/by-hand.qcow2")
    local.host._tell(local.uuid(), "lifecycle")
    local.settle()
    assert condition(local.vm(), "Migratable")["reason"] == "VirtualMachineDisksNotMigratable"
    local.ask()
    local.settle()
    assert why(local)[0] == "Failed"
    assert local.host.orders == []


@pytest.mark.promise("S52")
def test_the_condition_says_whether_a_machine_can_be_moved(rig: Fleet) -> None:
    moves = condition(rig.vm(), "Migratable")
    reason = (
        "VirtualMachineMigratable" if rig.pools.shared else "VirtualMachineDisksShouldBeMigrating"
    )
    assert (moves["status"], moves["reason"]) == ("True", reason)
    assert ("copied along" in moves["message"]) is not bool(rig.pools.shared)


@pytest.mark.parametrize(
    ("virt_type", "version", "loses"),
    [
        ("qemu", "8.2.2", True),
        ("qemu", "9.0.0", False),
        ("qemu", "10.1.0", False),
        ("kvm", "7.2.0", False),
    ],
)
def test_what_emulation_may_lose_on_the_way_is_told(
    local: Fleet, virt_type: str, version: str, loses: bool
) -> None:
    for host in local.hosts.values():
        host.node = replace(host.node, virt_type=virt_type, qemu_version=version)
    local.agent = local.start()
    local.settle()
    moves = condition(local.vm(), "Migratable")
    assert moves["status"] == "True"
    assert (f"QEMU {version} can lose" in moves.get("message", "")) is loses


def test_a_machine_that_runs_twice_is_loudly_told_and_left(local: Fleet) -> None:
    """Somebody lets the guest go on on the target by hand, before the source was off."""
    other = local.hosts["pt-2"]

    def by_hand(what: str) -> None:
        if what == "landed":
            other.unpause(local.uuid())
            local.host.migration_breaks(local.uuid())

    local.host.at_stage = by_hand
    local.ask()
    local.go(30)
    assert local.on() == ["pt-1", "pt-2"]
    running = condition(local.vm(), "Running")
    assert (running["status"], running["reason"]) == ("Unknown", "DomainOnSeveralNodes")
    assert "runs on pt-1 and on pt-2 at once" in running["message"]
    before = [list(host.verbs) for host in local.hosts.values()]
    local.go(60)
    assert [list(host.verbs) for host in local.hosts.values()] == before


@pytest.mark.parametrize("room", [3600, 0])
def test_room_on_the_target_is_waited_for_a_while(local: Fleet, room: int) -> None:
    """So is a pool that is inactive for a moment, as while a daemon restarts."""
    every = [local.hosts["pt-2"], local.hosts["pt-3"]]
    local.host.pools[POOL][local.volumes("pt-1")[0]].content = b"data"
    for each in every:
        each.free = 0
    local.ask()
    local.go(20)
    assert why(local) == ("InProgress", "TargetDiskError")
    if room:
        for each in every:
            each.free = 1 << 30
        local.settle()
        whole(local, "pt-2")
    else:
        local.go(40, seconds=10)
        assert why(local) == ("Failed", "TargetDiskError")
        whole(local, "pt-1")
        assert "are free" in condition(local.vmop("move"), "Completed")["message"]


def test_one_that_takes_too_long_is_ended(local: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "WITHIN", -1.0)
    local.host.migrations_held = True
    local.ask()
    local.settle()
    assert why(local) == ("Failed", "Aborted")
    whole(local, "pt-1")
