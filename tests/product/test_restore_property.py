"""Whatever happens while a machine is restored, its disks hold all of one moment, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.product.test_restore import NEW, OLD, ask, outcome, volume, volumes, with_snapshot
from tests.rig import OPERATIONS, Rig, machine

DISKS = ("root", "data")
DEEDS = (
    *("pass", "pass", "pass", "time", "kill", "another agent", "no space", "space"),
    *("started by hand", "ended by hand", "powers off", "deaf", "cores", "withdrawn"),
)
POLICIES = ("AlwaysOn", "AlwaysOff", "Manual", "AlwaysOnUnlessStoppedManually")


def happens(rig: Rig, deed: str, policy: str) -> None:
    uuid = rig.uuid()
    match deed:
        case "pass":
            rig.step()
        case "time":
            rig.now += 40
        case "kill":
            rig.agent.reconciler.run()  # and nothing of what it began is carried out
            rig.start()
        case "another agent":
            rig.start("another")
            rig.now += 400
        case "no space":
            rig.host.free = 0
        case "space":
            rig.host.free = 1 << 40
        case "started by hand" if not rig.running():
            rig.host.start(uuid)
        case "ended by hand" if rig.running():
            rig.host.destroy(uuid)
        case "powers off" if rig.running():
            rig.host.guest_poweroff(uuid)
        case "deaf":
            rig.host.guest_obeys = not rig.host.guest_obeys
        case "cores":
            rig.push({"vm.yaml": machine(disks=DISKS, runPolicy=policy, cpu={"cores": 2})})
        case "withdrawn":
            rig.push({"back.yaml": None}, OPERATIONS)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@example("AlwaysOn", ["ended by hand"])
@example("AlwaysOn", ["pass", "pass", "pass", "pass", "started by hand"])
@example("AlwaysOn", ["pass", "pass", "pass", "started by hand", "withdrawn"])
@given(policy=st.sampled_from(POLICIES), deeds=st.lists(st.sampled_from(DEEDS), max_size=12))
def test_disks_hold_all_of_one_moment(policy: str, deeds: list[str]) -> None:
    with TemporaryDirectory() as folder:
        rig = with_snapshot(Rig(Path(folder)))
        rig.push({"vm.yaml": machine(disks=DISKS, runPolicy=policy)})
        rig.settle()
        old = {volume(rig, name) for name in DISKS}
        ask(rig)
        rig.agent.reconciler.look_at_git()
        for deed in deeds:
            happens(rig, deed, policy)
        rig.host.free = 1 << 40
        rig.now += 400
        rig.settle(500)
        held = {volumes(rig)[volume(rig, name)].removesuffix(name.encode()) for name in DISKS}
        assert len(held) == 1
        assert {volumes(rig)[name] for name in old} == {NEW + name.encode() for name in DISKS}
        assert len(volumes(rig)) == (4 if held == {OLD} else 2)
        if "withdrawn" not in deeds:
            phase, reason = outcome(rig)
            assert held == {OLD if phase == "Completed" else NEW}
            assert reason in ("OperationCompleted", "NotApplicableForVirtualMachinePhase")
        if policy in ("AlwaysOn", "AlwaysOff"):
            assert rig.running() is (policy == "AlwaysOn")
        if rig.running():
            raw = rig.host.read_domain(rig.uuid())
            assert raw is not None
            assert all(volume(rig, name) in raw.active_xml for name in DISKS)
