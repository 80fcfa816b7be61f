"""Between a decision and its deed somebody else may have ended the instance that was meant, and started another one."""

from __future__ import annotations

import pytest

from tests.rig import OPERATIONS, Rig, disk, machine, operation


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.verbs()
    return rig


def another_one_once_it_is_written_down(rig: Rig) -> list[str]:
    """With the next definition the instance crashes, and somebody starts another one by hand; ids of those."""
    found: list[str] = []

    def effect(verb: str, when: str) -> None:
        if (verb, when) == ("define", "after") and not found:
            found.append("")
            rig.host.crash(rig.uuid())
            rig.host.start(rig.uuid())
            rig.verbs()
            found[0] = rig.memory(active=True).instance

    rig.host.on_effect = effect
    return found


@pytest.mark.parametrize("more", [{}, {"force": True}], ids=["gently", "by force"])
def test_another_instance_is_not_ended(on: Rig, more: dict[str, bool]) -> None:
    others = another_one_once_it_is_written_down(on)
    on.push({"op.yaml": operation("op", "vm", "Stop", **more)}, OPERATIONS)
    on.settle()
    assert {"shutdown", "destroy"}.isdisjoint(on.verbs())
    assert [on.memory(active=True).instance] == others


def test_what_is_written_for_an_instance_is_not_written_into_another_one(on: Rig) -> None:
    others = another_one_once_it_is_written_down(on)
    labelled = machine(metadata={"labels": {"tier": "db"}}, cpu={"cores": 2})
    on.push({"vm.yaml": [disk(), labelled]})
    on.settle()
    assert "set_live_metadata" not in on.verbs()  # it was started with them
    assert [on.memory(active=True).instance] == others
    assert on.memory(active=True).labels == {"tier": "db"}
