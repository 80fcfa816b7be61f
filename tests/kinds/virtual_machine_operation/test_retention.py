"""How long operations that have ended are kept."""

from __future__ import annotations

import pytest

from agent.core.ledger import Record
from agent.core.model import Json, Key, Manifest, Object
from agent.core.status import timestamp
from agent.kinds.virtual_machine_operation.retention import outlived

DAY = 24 * 3600.0
NOW = 10 * DAY


def key(name: str, namespace: str = "default") -> Key:
    return Key("VirtualMachineOperation", namespace, name)


def ended(
    name: str,
    ago: float,
    phase: str = "Completed",
    namespace: str = "default",
    vm: str = "vm",
    condition: str = "Completed",
) -> Record:
    manifest = Manifest(key(name, namespace), {}, {}, {"spec": {"virtualMachineName": vm}})
    conditions: list[Json] = [
        {"type": "SignalSent", "lastTransitionTime": timestamp(0)},
        {"type": condition, "lastTransitionTime": timestamp(NOW - ago)},
    ]
    obj = Object(manifest, name, 1, timestamp(NOW - DAY + 1), "")
    return Record(obj, {"phase": phase, "conditions": conditions})


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Superseded"])
@pytest.mark.parametrize(("ago", "goes"), [(DAY - 1, False), (DAY, True), (DAY + 1, True)])
def test_what_ended_a_day_ago_goes(phase: str, ago: float, goes: bool) -> None:
    each = frozenset({key("op")})
    none: frozenset[Key] = frozenset()
    found = outlived([ended("op", ago, phase)], NOW)
    assert found == ((each, none) if goes else (none, each))


@pytest.mark.parametrize("phase", ["", "Pending", "InProgress"])
def test_what_has_not_ended_is_nobodys_business(phase: str) -> None:
    assert outlived([ended("op", 2 * DAY, phase)], NOW) == (frozenset(), frozenset())


def test_without_a_condition_the_time_counts_from_the_creation() -> None:
    assert outlived([ended("op", 2 * DAY, condition="Other")], NOW)[0] == frozenset()
    assert outlived([ended("op", 0, condition="Other")], NOW + 1)[0] == {key("op")}


def test_the_newest_ten_of_each_machine_stay() -> None:
    ours = [ended(f"op{ago:02}", ago) for ago in range(11)]
    others = [ended("x", 20, vm="another"), ended("x", 20, namespace="another")]
    gone, stay = outlived([*ours, *others], NOW)
    assert gone == {key("op10")}
    assert stay == {each.obj.key for each in (*ours[:10], *others)}
