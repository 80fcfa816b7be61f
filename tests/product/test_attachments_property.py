"""Whatever happens while disks come and go, no two machines have one open, none is pulled from under its guest, and each ends where it belongs."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.domain_xml import parse
from tests.memory_host import Killed
from tests.product.test_attachments import attachment, number, phase, told
from tests.rig import Rig, condition, disk, machine

VMS, DISKS, PLUGS = ("a", "b"), ("x", "y"), ("p", "q", "r")
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "60"))

plugs = st.tuples(
    st.just("attach"), st.sampled_from(PLUGS), st.sampled_from(DISKS), st.sampled_from(VMS)
)
deeds = st.one_of(
    plugs,
    plugs,
    st.tuples(st.just("detach"), st.sampled_from(PLUGS)),
    st.tuples(st.just("detached by hand"), st.sampled_from(VMS), st.sampled_from(DISKS)),
    st.tuples(st.just("mounts"), st.sampled_from(VMS), st.sampled_from(DISKS)),
    st.tuples(
        st.just("listed"), st.sampled_from(VMS), st.lists(st.sampled_from(DISKS), unique=True)
    ),
    st.tuples(st.just("ends"), st.sampled_from(VMS), st.sampled_from(("crash", "destroy"))),
    st.tuples(st.just("dies"), st.integers(1, 4)),
    st.tuples(st.just("time"), st.sampled_from((3, 40, 400))),
    st.tuples(st.just("pass"), st.integers(1, 4)),
    st.tuples(st.just("another agent")),
)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder)
        self.left = 0
        """Effects until the agent dies; 0 for never."""
        self.plugs: dict[str, tuple[str, str]] = {}
        """What is declared: disk and machine of each attachment. It cannot be changed."""
        self.names: dict[str, str] = {}
        """The attachment in each place; each has a name of its own."""
        self.used: list[str] = []
        self.rig.host.on_effect = self.effect
        files: dict[str, Any] = {f"{name}.yaml": disk(name) for name in DISKS}
        for name in VMS:
            files[f"disk-{name}.yaml"] = disk(f"root-{name}")
            files[f"vm-{name}.yaml"] = self.machine(name, ())
        self.rig.push(files)
        self.rig.settle()
        self.numbers = {name: number(self.rig, name) for name in DISKS}

    def machine(self, name: str, listed: tuple[str, ...]) -> dict[str, Any]:
        return machine(name, disks=(f"root-{name}", *listed), runPolicy="AlwaysOn")

    def effect(self, _verb: str, when: str) -> None:
        if self.left and when == "after":
            self.left -= 1
            if not self.left:
                raise Killed

    def work(self, passes: int = 1) -> None:
        for _ in range(passes):
            try:
                self.rig.step()
            except Killed:
                self.rig.start()
            self.nobody_shares()

    def active(self, name: str) -> set[str]:
        """Serial numbers of what a machine has open."""
        raw = self.rig.host._domains.get(self.rig.uuid(name))
        if raw is None or not raw.active_xml:
            return set()
        disks = parse(raw.active_xml).findall("devices/disk")
        return {each.findtext("serial", "") for each in disks}

    def nobody_shares(self) -> None:
        assert not self.active("a") & self.active("b")

    def happens(self, deed: tuple[Any, ...]) -> None:
        rig, (what, *about) = self.rig, deed
        match what, about:
            case "attach", [plug, name, vm] if plug not in self.names:
                self.names[plug] = own = f"{plug}-{len(self.used)}"
                self.used.append(own)
                self.plugs[own] = name, vm
                rig.push({f"plug-{plug}.yaml": attachment(own, name, vm)})
                rig.agent.reconciler.look_at_git()
            case "detach", [plug] if own := self.names.pop(plug, ""):
                del self.plugs[own]
                rig.push({f"plug-{plug}.yaml": None})
                rig.agent.reconciler.look_at_git()
            case "detached by hand", [vm, name] if self.numbers[name] not in self.mounted(vm):
                rig.host.detach_device(rig.uuid(vm), self.numbers[name])
            case "mounts", [vm, name] if self.numbers[name] in self.active(vm):
                rig.host.mounts[rig.uuid(vm)] = frozenset({self.numbers[name]})
            case "listed", [vm, names]:
                rig.push({f"vm-{vm}.yaml": self.machine(vm, tuple(names))})
                rig.agent.reconciler.look_at_git()
            case "ends", [vm, how]:
                rig.host.mounts.pop(rig.uuid(vm), None)
                if rig.running(vm):
                    (rig.host.crash if how == "crash" else rig.host.destroy)(rig.uuid(vm))
            case "dies", [left]:
                self.left = left
            case "time", [seconds]:
                rig.now += seconds
            case "another agent", _:
                rig.start("another")
                rig.now += 400

    def mounted(self, vm: str) -> frozenset[str]:
        return self.rig.host.mounts.get(self.rig.uuid(vm)) or frozenset()

    def is_right(self) -> None:
        for vm in VMS:
            assert self.rig.running(vm), condition(self.rig.vm(vm), "BlockDevicesReady")
            asked = {self.numbers[name] for name, of in self.plugs.values() if of == vm}
            attached = {
                self.numbers[name]
                for plug, (name, of) in self.plugs.items()
                if of == vm and phase(self.rig, plug) == "Attached"
            }
            assert attached <= self.active(vm)
            extra = self.active(vm) & {*self.numbers.values()} - asked
            listed = {ref["name"] for ref in self.rig.vm(vm)["spec"]["blockDeviceRefs"]}
            waits = {
                change["path"].split(".")[0]
                for change in self.rig.vm(vm)["status"].get("restartAwaitingChanges", [])
            }
            assert not extra or waits or {self.numbers[name] for name in listed & {*DISKS}} >= extra
        for plug, (name, vm) in self.plugs.items():
            state = phase(self.rig, plug)
            others = [
                other for other, (of, _) in self.plugs.items() if of == name and other != plug
            ]
            if state != "Attached":
                spec = [
                    ref["name"]
                    for each in VMS
                    for ref in self.rig.vm(each)["spec"]["blockDeviceRefs"]
                ]
                taken = any(self.numbers[name] in self.active(each) for each in VMS if each != vm)
                assert others or name in spec or taken, told(self.rig, plug)["status"]
        documents = [path for path in self.rig.documents() if "blockdeviceattachments" in path]
        assert len(documents) == len(self.plugs), documents


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
)
@given(st.lists(deeds, max_size=14))
def test_disks_come_and_go(happened: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        for deed in happened:
            try:
                stage.happens(deed)
            except Killed:
                stage.rig.start()
            before = {vm: (stage.active(vm), stage.mounted(vm)) for vm in VMS}
            stage.work(deed[1] if deed[0] == "pass" else 1)
            for vm, (opened, mounted) in before.items():
                if stage.rig.running(vm) and stage.mounted(vm) == mounted:
                    assert opened & mounted <= stage.active(vm), "pulled from under its guest"
        stage.left = 0
        stage.rig.host.mounts.clear()
        stage.rig.now += 400
        stage.rig.settle(500)
        stage.nobody_shares()
        stage.is_right()
