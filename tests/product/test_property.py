"""Whatever happens in whatever order: the agent converges, and never does what nobody asked for."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lxml import etree

from agent.core.metadata import NAMESPACE
from agent.core.quantity import to_bytes
from tests.memory_host import Killed, Volume
from tests.product.faults import FragileRepository, WatchedHost
from tests.rig import OPERATIONS, STATUS, Rig, condition, disk, machine, manifest, operation

DEFAULT = "AlwaysOnUnlessStoppedManually"
POLICIES = (DEFAULT, DEFAULT, "AlwaysOn", "Manual", "AlwaysOff")
VMS = ("a", "b")
DISKS = ("one", "two")
MAIN = "refs/heads/main"
OWN = {
    "a": (("one",), ("one",), ("one",), ("one", "two"), ("two",)),
    "b": (("two",), ("two",), ("two",), ("two", "one"), ("one",)),
}
"""Which disks a machine has: mostly its own."""
KEPT = manifest("VirtualMachineClass", "kept", {"cpu": {"type": "Host"}})
"""Stays for ever, so that the repository never looks emptied by accident."""

names = st.sampled_from(VMS)
sizes = st.sampled_from(("256Mi", "512Mi", "1Gi", "1024Mi"))
labels = st.dictionaries(st.sampled_from(("tier", "team")), st.sampled_from(("x", "y")))


@st.composite
def machines(draw: st.DrawFn, name: str) -> dict[str, Any]:
    return machine(
        name,
        disks=draw(st.sampled_from(OWN[name])),
        metadata={"labels": draw(labels), "annotations": draw(labels)},
        cpu={"cores": draw(st.integers(1, 3))},
        memory={"size": draw(sizes)},
        runPolicy=draw(st.sampled_from(POLICIES)),
        disruptions={
            "restartApprovalMode": draw(st.sampled_from(("Manual", "Manual", "Automatic")))
        },
        terminationGracePeriodSeconds=draw(st.sampled_from((0, 10, 60))),
        **draw(
            st.sampled_from(
                ({}, {"provisioning": {"type": "UserData", "userData": "#cloud-config\n{}\n"}})
            )
        ),
    )


FOREIGN = "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory>1048576</memory>{}</domain>"
STRANGERS = {
    "11111111-1111-4111-8111-111111111111": ("db", ""),
    "22222222-2222-4222-8222-222222222222": (
        "other.vm",
        f"<metadata><g:vm xmlns:g='{NAMESPACE}' fleet='other' namespace='other' name='vm' uid='u'/></metadata>",
    ),
}
STRANGE_VOLUMES = {
    "backup.qcow2": Volume("/var/lib/libvirt/gitvirt/backup.qcow2", 10, content=b"mine"),
    "other_disk_default_one_00000000-0000-4000-8000-000000000000.qcow2": Volume(
        "/var/lib/libvirt/gitvirt/o", 10
    ),
    "default_disk_default_one_notauid.qcow2": Volume(
        "/var/lib/libvirt/gitvirt/p", 10, content=b"hand-made"
    ),
}


class Product(RuleBasedStateMachine):
    """Rules change Git, the host and the agent. `heal` lets the agent work undisturbed and checks everything.

    Between two heals the machine notes, for each VM, what would justify an end or a start of an instance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gitvirt-")
        self.host = WatchedHost()
        self.rig = Rig(Path(self.folder.name), host=self.host)
        self.repo = FragileRepository(lambda: self.rig.now)
        self.rig.repo = self.repo
        self.fuse: tuple[int, str] | None = None
        self.host.on_effect = self.effect
        self.repo.effects = self.effect
        self.vms: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, str] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.asked_at: dict[str, float] = {}
        self.instance = "agent"
        self.uids: dict[tuple[str, str], str] = {}
        self.tips: list[str] = []
        self.volumes: set[str] = set()
        self.forgetful = False
        """True once a domain's metadata was thrown away: with the ledger gone too, nothing would
        know what was done.
        """
        self.open_window()

    @initialize(a=machines("a"), b=machines("b"))
    def begin(self, a: dict[str, Any], b: dict[str, Any]) -> None:
        for uuid, (name, metadata) in STRANGERS.items():
            self.host.define(FOREIGN.format(name, uuid, metadata))
        self.host.start("11111111-1111-4111-8111-111111111111")
        self.host.pools["gitvirt"] = dict(STRANGE_VOLUMES)
        self.strange = {uuid: self.host.read_domain(uuid) for uuid in STRANGERS}
        self.host.turns.clear()
        self.rig.push({"kept.yaml": KEPT})
        self.rig.start()
        self.heal()
        self.vms, self.disks = {"a": a, "b": b}, dict.fromkeys(DISKS, "1Gi")
        self.rig.push({f"disk-{name}.yaml": disk(name) for name in DISKS})
        self.rig.push({f"vm-{name}.yaml": self.vms[name] for name in VMS})
        for name in VMS:
            self.versions[name].append(self.vms[name])
        self.heal()

    def teardown(self) -> None:
        self.folder.cleanup()

    # -- the agent ------------------------------------------------------------------------------

    def effect(self, what: str, phase: str) -> None:
        if what == "ensure_pool" or self.fuse is None:
            return
        left, when = self.fuse
        if when == phase:
            self.fuse = (left - 1, when)
            if left <= 1:
                self.fuse = None
                raise Killed

    def living(self, work: Callable[[], object]) -> None:
        """Let the agent do something; it may die of it, and is then started again."""
        try:
            work()
        except Killed:
            self.rig.start(self.instance)

    def open_window(self) -> None:
        self.turned = len(self.host.turns)
        self.events: dict[str, Counter[str]] = {name: Counter() for name in VMS}
        self.before: dict[str, str] = {
            name: self.host.instance(self.rig.uuid(name)) for name in VMS
        }
        self.versions: dict[str, list[dict[str, Any] | None]] = {
            name: [self.vms.get(name)] for name in VMS
        }
        self.ledger_fault = False
        self.there = {name for name in VMS if self.defined(name)}
        """Machines that a domain remembers."""
        for op, document in self.operations.items():
            if self.rig.vmop(op)["status"]["phase"] == "Pending":  # it waits for a disk
                self.note(document["spec"]["virtualMachineName"], document["spec"]["type"])

    def note(self, name: str, event: str) -> None:
        self.events[name][event] += 1

    # -- Git ------------------------------------------------------------------------------------

    @rule(data=st.data(), name=names)
    def declare(self, data: st.DataObject, name: str) -> None:
        self.vms[name] = data.draw(machines(name))
        self.rig.push({f"vm-{name}.yaml": self.vms[name]})
        self.versions[name].append(self.vms[name])

    @precondition(lambda self: self.vms)
    @rule(data=st.data(), cores=st.integers(1, 3))
    def change_cores(self, data: st.DataObject, cores: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.vms)))
        old = self.vms[name]
        self.vms[name] = {**old, "spec": {**old["spec"], "cpu": {"cores": cores}}}
        self.rig.push({f"vm-{name}.yaml": self.vms[name]})
        self.versions[name].append(self.vms[name])

    @precondition(lambda self: self.vms)
    @rule(data=st.data(), policy=st.sampled_from(POLICIES))
    def change_policy(self, data: st.DataObject, policy: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.vms)))
        old = self.vms[name]
        self.vms[name] = {**old, "spec": {**old["spec"], "runPolicy": policy}}
        self.rig.push({f"vm-{name}.yaml": self.vms[name]})
        self.versions[name].append(self.vms[name])

    @precondition(lambda self: len(self.vms) == len(VMS))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.vms)))
        del self.vms[name]
        self.rig.push({f"vm-{name}.yaml": None})
        self.versions[name].append(None)

    @precondition(lambda self: len(self.disks) < len(DISKS))
    @rule(name=st.sampled_from(DISKS), size=st.sampled_from(("1Gi", "2Gi")))
    def declare_disk(self, name: str, size: str) -> None:
        self.disks[name] = size
        self.rig.push({f"disk-{name}.yaml": disk(name, size)})

    @precondition(lambda self: len(self.disks) == len(DISKS))
    @rule(data=st.data())
    def remove_disk(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.disks)))
        del self.disks[name]
        self.rig.push({f"disk-{name}.yaml": None})

    @rule(
        name=names,
        kind=st.sampled_from(("Start", "Stop", "Restart", "Restart")),
        force=st.booleans(),
    )
    def ask(self, name: str, kind: str, force: bool) -> None:
        self.asked += 1
        op = f"op-{self.asked}"
        more = {"force": True} if force and kind != "Start" else {}
        self.operations[op] = operation(op, name, kind, **more)
        self.rig.push({f"{op}.yaml": self.operations[op]}, OPERATIONS)
        self.asked_at[op] = self.rig.now
        self.note(name, kind)

    @precondition(lambda self: self.operations)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from(sorted(self.operations)))
        name = self.operations.pop(op)["spec"]["virtualMachineName"]
        self.rig.push({f"{op}.yaml": None}, OPERATIONS)
        self.note(name, "withdrawn")

    @precondition(lambda self: STATUS in self.repo.refs and not self.forgetful)
    @rule()
    def lose_ledger(self) -> None:
        del self.repo.refs[STATUS]
        self.ledger_fault = True

    @precondition(lambda self: self.tips and not self.forgetful)
    @rule(data=st.data())
    def roll_ledger_back(self, data: st.DataObject) -> None:
        self.repo.refs[STATUS] = data.draw(st.sampled_from(self.tips))
        self.ledger_fault = True

    # -- the host -------------------------------------------------------------------------------

    def on(self, name: str) -> bool:
        return bool(self.host.instance(self.rig.uuid(name)))

    def defined(self, name: str) -> bool:
        return self.rig.uuid(name) in self.host._domains

    @precondition(lambda self: any(self.on(name) for name in VMS))
    @rule(
        name=names,
        how=st.sampled_from(("poweroff", "reboot", "reboot", "crash", "signal", "destroy")),
    )
    def happens(self, name: str, how: str) -> None:
        if not self.on(name):
            return
        uuid = self.rig.uuid(name)
        match how:
            case "poweroff":
                self.host.guest_poweroff(uuid)
            case "reboot":
                self.host.guest_reboot(uuid)
            case "crash":
                self.host.crash(uuid)
            case "signal":
                self.host.host_signal(uuid)
            case "destroy":
                WatchedHost.__mro__[1].destroy(self.host, uuid)  # type: ignore[attr-defined]  # by hand: not the agent's
        self.note(name, how)

    @precondition(lambda self: any(self.defined(name) and not self.on(name) for name in VMS))
    @rule(name=names)
    def started_by_hand(self, name: str) -> None:
        if self.defined(name) and not self.on(name):
            fuse, self.fuse = self.fuse, None
            WatchedHost.__mro__[1].start(self.host, self.rig.uuid(name))  # type: ignore[attr-defined]
            self.fuse = fuse
            self.note(name, "virsh-start")

    @rule()
    def host_is_lost(self) -> None:
        for name in VMS:
            if self.on(name):
                self.note(name, "lost")
        strangers = {uuid: self.host._domains[uuid] for uuid in STRANGERS}
        self.host.lose_host()
        self.host._domains.update(strangers)

    @rule(name=names, how=st.sampled_from(("cores", "memory", "metadata")))
    def edited_by_hand(self, name: str, how: str) -> None:
        if not self.defined(name) or (how == "metadata" and self.ledger_fault):
            return  # a domain that neither it nor the ledger knows is nobody's

        def change(root: etree._Element) -> None:
            if how == "cores":
                vcpu = root.find("vcpu")
                assert vcpu is not None
                vcpu.text = "7"
            elif how == "memory":
                for tag in ("memory", "currentMemory"):
                    if (found := root.find(tag)) is not None:
                        found.text = "777216"
            else:
                metadata = root.find("metadata")
                assert metadata is not None
                for each in list(metadata):
                    metadata.remove(each)

        self.forgetful = self.forgetful or how == "metadata"
        self.host.edit(self.rig.uuid(name), change)
        self.note(name, f"edit-{how}")

    @rule(obeys=st.booleans())
    def guests_obey(self, obeys: bool) -> None:
        self.host.guest_obeys = obeys

    # -- the agent and time ---------------------------------------------------------------------

    @rule(left=st.integers(1, 8), phase=st.sampled_from(("before", "after")))
    def dies_soon(self, left: int, phase: str) -> None:
        self.fuse = (left, phase)

    @rule(other=st.booleans())
    def starts_again(self, other: bool) -> None:
        if other:
            self.instance = {"agent": "another", "another": "agent"}[self.instance]
        self.rig.start(self.instance)

    @rule(passes=st.integers(1, 6))
    def works(self, passes: int) -> None:
        def work() -> None:
            self.rig.agent.reconciler.look_at_git()
            for _ in range(passes):
                self.rig.step()

        self.living(work)

    @rule(seconds=st.sampled_from((1, 4, 61, 700)))
    def time_passes(self, seconds: int) -> None:
        self.rig.now += seconds

    # -- what always holds ----------------------------------------------------------------------

    @rule()
    def heal(self) -> None:
        self.fuse = None
        self.forget_old_operations()
        self.rig.settle()
        self.rig.now += 400  # back-offs are over
        self.rig.settle()
        self.nothing_is_left_to_do()
        self.strangers_are_untouched()
        self.data_is_kept()
        for name in VMS:
            self.machine_is_right(name)
            self.turns_were_asked_for(name)
        self.identities_are_kept()
        self.operations_have_one_target()
        self.tips.append(self.repo.refs[STATUS])
        self.open_window()

    @rule(
        name=names,
        what=st.sampled_from(("crash", "poweroff", "Stop", "Restart", "lost", "nothing")),
    )
    def one_thing_at_rest(self, name: str, what: str) -> None:
        """Where just one thing happens, the outcome is known exactly."""
        self.heal()
        if what in ("crash", "poweroff"):
            self.happens(name=name, how=what)
        elif what in ("Stop", "Restart"):
            self.ask(name=name, kind=what, force=False)
        elif what == "lost":
            self.host_is_lost()
        self.heal()

    def forget_old_operations(self) -> None:
        """The agent would remove them itself some day, and that day is no day of rest."""
        old = [op for op in self.operations if self.asked_at[op] < self.rig.now - 20_000]
        for op in old:
            del self.operations[op]
        if old:
            self.rig.push({f"{op}.yaml": None for op in old}, OPERATIONS)

    def nothing_is_left_to_do(self) -> None:
        self.rig.verbs()
        tip = self.repo.refs[STATUS]
        self.rig.now += 1000
        self.rig.settle()
        assert self.rig.verbs() == []
        assert self.repo.refs[STATUS] == tip
        # and an agent that knows nothing finds nothing to do either
        self.rig.start(self.instance)
        self.rig.settle()
        assert self.rig.verbs() == []
        assert self.repo.refs[STATUS] == tip

    def strangers_are_untouched(self) -> None:
        for uuid, raw in self.strange.items():
            assert self.host.read_domain(uuid) == raw
        for name, volume in STRANGE_VOLUMES.items():
            assert self.host.pools["gitvirt"].get(name) is volume

    def data_is_kept(self) -> None:
        found = {name for name in self.host.pools["gitvirt"] if "_disk_" in name}
        assert found >= self.volumes
        self.volumes = found
        for name in self.disks:
            of_disk = [
                each
                for each in found
                if each.startswith(f"default_disk_default_{name}_") and each not in STRANGE_VOLUMES
            ]
            assert len(of_disk) == 1, of_disk

    def machine_is_right(self, name: str) -> None:
        wanted = self.vms.get(name)
        uuid = self.rig.uuid(name)
        if wanted is None:
            assert self.host.read_domain(uuid) is None
            assert f"namespaces/default/virtualmachines/{name}.yaml" not in self.rig.documents()
            seeds = [each for each in self.host.pools["gitvirt"] if "_seed_" in each]
            assert len(seeds) <= len(self.vms)
            return
        status = self.rig.vm(name)["status"]
        ready = condition(self.rig.vm(name), "BlockDevicesReady")["status"] == "True"
        refs = [ref["name"] for ref in wanted["spec"]["blockDeviceRefs"]]
        if not set(refs) <= self.disks.keys():
            assert not ready
        self.power_is_right(name, wanted, status, ready=ready)
        raw = self.host.read_domain(uuid)
        if ready and raw is not None:
            assert shape(raw.inactive_xml) == shape_of(wanted)
        if raw is not None and raw.active:
            self.changes_are_told(wanted, status, raw.active_xml, name)

    def power_is_right(
        self, name: str, wanted: dict[str, Any], status: dict[str, Any], *, ready: bool
    ) -> None:
        policy, on = wanted["spec"]["runPolicy"], self.on(name)
        was, events = bool(self.before[name]), self.events[name]
        policies = {each["spec"]["runPolicy"] if each else "none" for each in self.versions[name]}
        if on:
            assert status["phase"] == "Running"
        else:
            assert status["phase"] in ("Stopped", "Pending")
        if policy == "AlwaysOff":
            assert not on
        elif policy == "AlwaysOn":
            assert on or not ready
        elif not (policies - {policy}) and not self.ledger_fault:
            ups = {"Start", "Restart", "virsh-start"}
            downs = (
                {"Stop", "Restart", "poweroff", "edit-metadata"}
                if policy == DEFAULT
                else {"Stop", "Restart", "poweroff", "crash", "signal", "destroy", "lost"}
            )
            if was and ready and not downs & events.keys():
                assert on
            if not was and not ups & events.keys() and status["phase"] == "Stopped":
                assert not on

    def changes_are_told(
        self, wanted: dict[str, Any], status: dict[str, Any], active: str, name: str
    ) -> None:
        told = {each["path"] for each in status.get("restartAwaitingChanges", ())}
        cores, memory, disks = shape(active)
        want = shape_of(wanted)
        memory_known = self.host.instance(self.rig.uuid(name)) not in ("", "unknown")
        if not memory_known or cores == 7 or memory == 777216 * 1024:
            return  # started by hand with a definition that somebody had changed
        assert ("cpu.cores" in told) is (cores != want[0])
        assert ("memory.size" in told) is (memory != want[1])
        assert any(path.startswith("blockDeviceRefs") for path in told) is (disks != want[2])
        assert bool(told) is (
            condition({"status": status}, "AwaitingRestartToApplyConfiguration") != {}
        )
        live = self.rig.memory(name, active=True)
        assert dict(live.labels) == wanted["metadata"].get("labels", {})
        assert dict(live.annotations) == wanted["metadata"].get("annotations", {})
        assert live.spec["runPolicy"] == wanted["spec"]["runPolicy"]

    def turns_were_asked_for(self, name: str) -> None:
        """No instance ends, and none is started, that nobody gave a reason for."""
        turns = [
            turn for turn in self.host.turns[self.turned :] if turn.uuid == self.rig.uuid(name)
        ]
        events, versions = self.events[name], self.versions[name]
        specs = [each["spec"] if each else None for each in versions]
        ends = events["Stop"] + events["Restart"] + events["reboot"]
        ends += sum(spec is None or spec["runPolicy"] == "AlwaysOff" for spec in specs)
        ends += sum(
            bool(spec and spec["disruptions"]["restartApprovalMode"] == "Automatic")
            for spec in specs
        )
        ends += (
            events["virsh-start"]
            if specs[-1] is None or specs[-1]["runPolicy"] == "AlwaysOff"
            else 0
        )
        ends += (
            events["virsh-start"]
            if any(spec and spec["runPolicy"] == "AlwaysOff" for spec in specs)
            else 0
        )
        ended = sum(not turn.on for turn in turns)
        assert ended <= ends, f"{name}: {ended} ends for {ends} reasons"
        starts = ended + events["Start"] + events["Restart"] + len(specs)
        starts += sum(events[each] for each in ("poweroff", "crash", "signal", "destroy", "lost"))
        started = [turn.instance for turn in turns if turn.on]
        assert len(started) <= starts, f"{name}: {len(started)} starts for {starts} reasons"

    def identities_are_kept(self) -> None:
        found = {}
        for name in VMS:
            if name in self.vms:
                found["vm", name] = self.rig.vm(name)["metadata"]["uid"]
        for name in self.disks:
            found["disk", name] = self.rig.document(f"namespaces/default/virtualdisks/{name}.yaml")[
                "metadata"
            ]["uid"]
        for key, uid in found.items():
            kind, name = key
            known = kind == "disk" or (name in self.there and None not in self.versions[name])
            if key in self.uids and known:
                assert self.uids[key] == uid, key
        self.uids |= found

    def operations_have_one_target(self) -> None:
        for uid, targets in self.host.targets.items():
            assert len(targets) == 1, (uid, targets)


def shape(xml: str) -> tuple[int, int, list[str]]:
    """Cores, bytes of memory and disks of a definition."""
    root = etree.fromstring(xml)
    unit = {"KiB": 1024, "MiB": 1024**2, "b": 1, "bytes": 1}
    memory = root.find("memory")
    assert memory is not None
    found = [
        source.get("file", "").rsplit("/", 1)[-1] for source in root.findall("devices/disk/source")
    ]
    disks = [each.split("_")[3] for each in found if "_disk_" in each]
    return (
        int(root.findtext("vcpu", "0")),
        int(memory.text or 0) * unit[memory.get("unit", "KiB")],
        disks,
    )


def shape_of(wanted: dict[str, Any]) -> tuple[int, int, list[str]]:
    spec = wanted["spec"]
    return (
        spec["cpu"]["cores"],
        to_bytes(spec["memory"]["size"]),
        [ref["name"] for ref in spec["blockDeviceRefs"]],
    )


EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "25"))
STEPS = int(os.environ.get("PROPERTY_STEPS", "30"))


def test_the_product() -> None:
    run_state_machine_as_test(
        Product,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="PROPERTY_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )
