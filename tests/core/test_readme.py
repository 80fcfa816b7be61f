from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.core.model import Key, Problem
from agent.core.overview import status_of
from agent.core.readme import MAX_ROWS, Readme
from agent.core.schema import Catalogue
from tests.fleets import CATALOGUE, condition, machine, whole

AGENT = {
    "fleet": "default",
    "applied": {"revision": "a" * 40, "since": "2026-01-01T00:00:00Z"},
    "attempted": {"revision": "b" * 40, "since": "2026-01-01T00:00:00Z"},
    "node": {"name": "host-a", "ready": True, "message": ""},
}


def readme(
    catalogue: Catalogue,
    objects: Iterable[Mapping[str, Any]],
    problems: Sequence[Problem],
    agent: Mapping[str, Any],
) -> str:
    """The text for whole objects, in one go."""
    made = Readme(catalogue)
    for whole_object in objects:
        metadata = whole_object["metadata"]
        key = Key(whole_object["kind"], metadata.get("namespace", ""), metadata["name"])
        made.put(key, status_of(whole_object), lambda value=whole_object: value)  # type: ignore[misc]
    return made.text(problems, agent)


def test_a_calm_fleet_is_a_line_its_picture_and_its_tables() -> None:
    text = readme(CATALOGUE, [machine()], [], {**AGENT, "attempted": AGENT["applied"]})
    columns = "NAMESPACE NAME PHASE CORES COREFRACTION MEMORY NEED_RESTART AGENT MIGRATABLE NODE IPADDRESS LAST_CHANGE"
    link = "(namespaces/default/virtualmachines/linux-vm.yaml)"
    row = f"default [linux-vm]{link} Running 1 100% 1Gi False True True host-a 10.66.10.12"
    assert text.splitlines() == [
        "# Fleet default",
        "",
        "**1 of 1 virtual machine running**, all is as it should be.",
        "",
        "![Nodes, and the machines on them by phase](fleet.svg)",
        "",
        (
            "Commit `aaaaaaaaaaaa` in force since 2026-01-01 00:00:00 UTC. "
            f"Last change: [VirtualMachine default/linux-vm]{link} Running, 2026-01-01 00:00:00 UTC."
        ),
        "",
        "## VirtualMachine (1)",
        "",
        f"| {' | '.join(columns.split()).replace('_', ' ')} |",
        f"| {' | '.join(['---'] * 12)} |",
        f"| {' | '.join(row.split())} | 2026-01-01 00:00:00 UTC |",
    ]


def test_what_asks_for_somebody_comes_first_and_what_is_only_good_to_know_last() -> None:
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    objects = [
        machine(conditions=(condition("AgentReady", "False", "No agent."),)),
        machine(
            "bad", "Pending", conditions=(condition("BlockDevicesReady", "False", "No disk root."),)
        ),
        machine(
            "waits",
            conditions=(condition("ConfigurationApplied", "False", "Changed: cpu.cores."),),
            status={"restartAwaitingChanges": [change]},
        ),
        machine("new", "Starting", conditions=()),
    ]
    problem = Problem("vms/a.yaml", 7, "VirtualMachine default/a", "spec.cpu", "is required")
    text = readme(CATALOGUE, objects, [problem], AGENT)
    heads = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        "Somebody has to look at (1 object)",
        "Manifests that do not hold",
        "Waiting for a restart (1 object)",
        "Under way (1 object)",
        "Good to know (1 object)",
        "VirtualMachine (4)",
    ]
    assert "| vms/a.yaml:7 | VirtualMachine default/a | spec.cpu | is required |" in text
    for what, name in (
        ("No disk root.", "bad"),
        ("cpu.cores: 1 → 2", "waits"),
        ("Starting.", "new"),
        ("No agent.", "linux-vm"),
    ):
        file = f"(namespaces/default/virtualmachines/{name}.yaml)"
        assert f"| {what} | [VirtualMachine default/{name}]{file} |" in text
    assert "2 of 4 virtual machines running**, 1 object for somebody to look at, " in text
    assert "1 problem in manifests, 1 waiting for a restart, 1 under way." in text
    assert "Commit `bbbbbbbbbbbb` under way since" in text


def test_no_sentence_stands_there_twice() -> None:
    slow = condition("HardwareVirtualization", "False", "Node host-a is slow.")
    objects = [machine(f"vm-{at:02}", conditions=(slow,)) for at in range(30)]
    twice = (condition("A", "False", "Said twice."), condition("B", "False", "Said twice."))
    text = readme(CATALOGUE, [*objects, machine("odd", conditions=twice)], [], AGENT)
    assert text.count("Node host-a is slow.") == 1
    assert text.count("Said twice.") == 1
    row = next(line for line in text.splitlines() if "Node host-a is slow." in line)
    assert row.endswith("vm-04.yaml) and 25 more |")


def test_an_operation_that_has_ended_is_history() -> None:
    failed = whole(
        "VirtualMachineOperation",
        "restart-1",
        {"type": "Restart", "virtualMachineName": "linux-vm"},
        {"phase": "Failed", "conditions": [condition("Completed", "False", "Too late.")]},
    )
    text = readme(CATALOGUE, [machine(), failed], [], AGENT)
    assert "all is as it should be" in text
    assert "Too late." not in text
    going = {**failed, "status": {**failed["status"], "phase": "InProgress"}}
    assert "## Under way (1 object)" in readme(CATALOGUE, [machine(), going], [], AGENT)


def test_the_last_change_is_the_newest_one_of_all_objects() -> None:
    late = {**condition("Running"), "lastTransitionTime": "2026-03-01T00:00:00Z"}
    past = [{"phase": "Stopped", "timestamp": "2026-02-01T00:00:00Z"}]
    objects = [
        machine("a", conditions=(late,)),
        machine("b", "Stopped", conditions=(), status={"stats": {"phasesTransitions": past}}),
    ]
    text = readme(CATALOGUE, objects, [], AGENT)
    assert (
        "[VirtualMachine default/a](namespaces/default/virtualmachines/a.yaml) Running, 2026-03"
        in text
    )
    assert "| 2026-02-01 00:00:00 UTC |" in text


def test_text_from_people_is_never_markup() -> None:
    evil = machine(
        "x",
        "Pending",
        conditions=(
            condition("A", "False", "<img src=x> | [a](http://e.vil) `b`\n# **c** @all www.e.vil"),
        ),
    )
    text = readme(CATALOGUE, [evil], [], AGENT)
    row = next(line for line in text.splitlines() if line.startswith("| &lt;img"))
    said = row.partition(" | [VirtualMachine")[0]
    assert "<" not in row
    assert row.count("|") - row.count("\\|") == 3
    for live in ("http://", "@", "www.", "[a]", " `", " **"):
        assert live not in said
    assert "\n# **c**" not in text


def test_the_path_of_a_link_ends_it_nowhere() -> None:
    evil = machine("x")
    evil["metadata"]["name"] = "a](http://e.vil) b"
    text = readme(CATALOGUE, [evil], [], AGENT)
    assert "/a%5D%28http%3A//e.vil%29%20b.yaml)" in text
    assert "](http://" not in text


def test_at_most_a_hundred_rows_a_kind() -> None:
    many = [machine(f"vm-{index:03}") for index in range(MAX_ROWS + 5)]
    text = readme(CATALOGUE, many, [], AGENT)
    assert text.count("| default | [vm-") == MAX_ROWS
    assert "… and 5 more." in text
    assert "## VirtualMachine (105)" in text


def test_the_order_of_the_objects_does_not_matter() -> None:
    objects = [machine("b"), machine("a"), whole("VirtualDisk", "root", {}, {"phase": "Ready"})]
    one = readme(CATALOGUE, objects, [], AGENT)
    assert readme(CATALOGUE, objects[::-1], [], AGENT) == one
    assert one.index("| default | [a]") < one.index("| default | [b]")


def test_secrets_have_no_table_and_a_node_that_is_away_is_named() -> None:
    agent = {**AGENT, "node": {"name": "host-a", "ready": False, "message": "No connection."}}
    text = readme(CATALOGUE, [whole("Secret", "s")], [], agent)
    assert "Secret" not in text
    assert "**Node host-a is not ready.** No connection." in text


def test_of_several_nodes_those_that_are_away_are_named() -> None:
    nodes = [{"name": f"pt-{at}", "ready": at == 2, "message": f"Lost {at}."} for at in (1, 2, 3)]
    agent = {name: value for name, value in AGENT.items() if name != "node"} | {"nodes": nodes}
    text = readme(CATALOGUE, [], [], agent)
    assert "**Node pt-1 is not ready.** Lost 1." in text
    assert "**Node pt-3 is not ready.** Lost 3." in text
    assert "pt-2" not in text


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
