from __future__ import annotations

from typing import Any

from agent.core.model import Key, Problem
from agent.core.readme import MAX_ROWS, Readme, readme
from tests.fleets import CATALOGUE, condition, machine, whole

AGENT = {
    "fleet": "default",
    "applied": {"revision": "a" * 40, "since": "2026-01-01T00:00:00Z"},
    "attempted": {"revision": "b" * 40, "since": "2026-01-01T00:00:00Z"},
    "node": {"name": "host-a", "ready": True, "message": ""},
}


def test_a_calm_fleet_is_a_line_and_its_tables() -> None:
    text = readme(CATALOGUE, [machine()], [], {**AGENT, "attempted": AGENT["applied"]})
    columns = "NAMESPACE NAME PHASE CORES COREFRACTION MEMORY NEED_RESTART AGENT MIGRATABLE NODE IPADDRESS"
    row = "default linux-vm Running 1 100% 1Gi False True True host-a 10.66.10.12"
    calm = "0 problems in manifests, 0 objects with something to say, `aaaaaaaaaaaa` applied."
    assert text.splitlines() == [
        "# Fleet default",
        "",
        f"**1 of 1 virtual machine running**, {calm}",
        "",
        "## VirtualMachine (1)",
        "",
        f"| {' | '.join(columns.split()).replace('_', ' ')} |",
        f"| {' | '.join(['---'] * 11)} |",
        f"| {' | '.join(row.split())} |",
    ]


def test_problems_come_first() -> None:
    troubled = machine(
        "bad", "Pending", conditions=(condition("BlockDevicesReady", "False", "No disk root."),)
    )
    problem = Problem("vms/a.yaml", 7, "VirtualMachine default/a", "spec.cpu", "is required")
    text = readme(CATALOGUE, [machine(), troubled], [problem], AGENT)
    order = [
        text.index(part) for part in ("do not hold", "something to say\n", "## VirtualMachine")
    ]
    assert order == sorted(order)
    assert "| vms/a.yaml:7 | VirtualMachine default/a | spec.cpu | is required |" in text
    assert "| VirtualMachine default/bad | Pending | BlockDevicesReady: No disk root. |" in text
    assert "`bbbbbbbbbbbb` under way" in text


def test_text_from_people_is_never_markup() -> None:
    evil = machine(
        "x",
        "Pending",
        conditions=(
            condition("A", "False", "<img src=x> | [a](http://e.vil) `b`\n# **c** @all www.e.vil"),
        ),
    )
    text = readme(CATALOGUE, [evil], [], AGENT)
    row = next(line for line in text.splitlines() if line.startswith("| VirtualMachine default/x"))
    assert "<" not in row
    assert row.count("|") - row.count("\\|") == 4
    for live in ("http://", "@", "www.", "[a]", " `", " **"):
        assert live not in row
    assert "\n# **c**" not in text
    assert "&lt;img src=x&gt;" in row


def test_at_most_a_hundred_rows_a_kind() -> None:
    many = [machine(f"vm-{index:03}") for index in range(MAX_ROWS + 5)]
    text = readme(CATALOGUE, many, [], AGENT)
    assert text.count("| default | vm-") == MAX_ROWS
    assert "… and 5 more." in text
    assert "## VirtualMachine (105)" in text


def test_the_order_of_the_objects_does_not_matter() -> None:
    objects = [machine("b"), machine("a"), whole("VirtualDisk", "root", {}, {"phase": "Ready"})]
    one = readme(CATALOGUE, objects, [], AGENT)
    assert readme(CATALOGUE, objects[::-1], [], AGENT) == one
    assert one.index("| a |") < one.index("| b |")


def test_secrets_have_no_table_and_a_node_that_is_away_is_named() -> None:
    agent = {**AGENT, "node": {"name": "host-a", "ready": False, "message": "No connection."}}
    text = readme(CATALOGUE, [whole("Secret", "s")], [], agent)
    assert "Secret" not in text
    assert "**Node host-a is not ready.** No connection." in text


def test_what_is_brought_up_to_date_is_as_if_made_anew() -> None:
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    troubled = condition("AgentReady", "False", "No agent.")
    steps: dict[str, list[dict[str, Any] | None]] = {
        "a": [machine("a", "Pending"), machine("a"), machine("a", "Stopped")],
        "b": [machine("b", status={"restartAwaitingChanges": [change]}), machine("b")],
        "c": [machine("c", conditions=(troubled,)), None],
        "d": [None, machine("d", namespace="other")],
    }
    kept = Readme(CATALOGUE)
    for at in range(3):
        there = {}
        for name, states in steps.items():
            namespace = "other" if name == "d" else "default"
            key, state = Key("VirtualMachine", namespace, name), states[min(at, len(states) - 1)]
            if state is None:
                kept.drop(key)
            else:
                kept.put(key, state["status"], lambda state=state: state)  # type: ignore[misc]
                there[name] = state
        assert kept.text([], AGENT) == readme(CATALOGUE, there.values(), [], AGENT)


def test_only_what_is_shown_is_asked_for() -> None:
    asked: list[str] = []

    def ask(name: str) -> dict[str, Any]:
        asked.append(name)
        return machine(name)

    kept = Readme(CATALOGUE)
    names = [f"vm-{index:03}" for index in range(MAX_ROWS + 50)]
    for name in names:
        key = Key("VirtualMachine", "default", name)
        kept.put(key, {"phase": "Running"}, lambda name=name: ask(name))  # type: ignore[misc]
    kept.text([], AGENT)
    kept.text([], AGENT)
    assert asked == names[:MAX_ROWS]
