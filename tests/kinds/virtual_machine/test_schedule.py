"""What a schedule adds to the decisions about a machine."""

from __future__ import annotations

from typing import Any

from agent.core import known
from agent.core.facts import Decision, View
from agent.core.known import Fact
from agent.core.model import Key, Object
from agent.kinds.virtual_machine.schedule import scheduling
from tests.kinds.deciding import condition, decided, made, types

VM = Key("VirtualMachine", "ns", "vm")
ASKED = Key("VirtualMachineSnapshot", "ns", "by-hand")


def left(_vm: Object, _view: View) -> Decision:
    return Decision(status={"phase": "Running", "conditions": ()})


def test_a_snapshot_is_told_of_as_long_as_it_is_taken() -> None:
    taken = decided(scheduling(left), made(VM, {}), {(known.SNAPSHOTTING, VM): ASKED})
    told = condition(taken, "Snapshotting")
    assert (told.status, told.message) == ("True", f"{ASKED} is being taken.")
    assert "Snapshotting" not in types(decided(scheduling(left), made(VM, {}), {}))


def test_of_a_machine_of_which_nothing_is_said_nothing_is_added() -> None:
    silent = Decision()
    facts: dict[Fact, Any] = {(known.SNAPSHOTTING, VM): ASKED}
    assert decided(scheduling(lambda _vm, _view: silent), made(VM, {}), facts) is silent


def test_why_the_last_slot_came_to_nothing_is_told() -> None:
    names = [f"vm-2023111{day}-0300" for day in (4, 5, 6)]
    keys = [Key("VirtualMachineSnapshot", "ns", name) for name in names]
    facts: dict[Fact, Any] = {(known.OWNED, VM): tuple(keys)}
    for key in keys:
        why = {"type": "VirtualMachineSnapshotReady", "message": f"{key.name} has no room."}
        facts[known.OBJECT, key] = made(key, {})
        facts[known.STATUS, key] = {"phase": "Failed", "conditions": [why]}
    vm = made(VM, {}, **{"gitvirt.io/snapshot-schedule": "0 3 * * *; keep 7"})
    told = condition(decided(scheduling(left), vm, facts), "SnapshotsScheduled")
    assert told.message == f"The snapshot {names[2]} failed: {names[2]} has no room."
