from __future__ import annotations

import time

from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.reconcile.message import Event, Update, compose
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine, whole

HOUR = 3600  # ages of hours do not change while a test runs


def test_one_object_in_all_its_parts(gitvirt: Gitvirt, fleet: Fleet) -> None:
    now = time.time()
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    trouble = {
        **condition("AgentReady", "False", "No agent."),
        "lastTransitionTime": timestamp(now - 4 * HOUR),
    }
    vm = machine(
        labels={"app": "web"},
        conditions=(trouble, condition("Running")),
        status={"restartAwaitingChanges": [change], "guestOSInfo": {"id": "fedora"}},
        created=timestamp(now - 660 - 5),
    )
    fleet.write(
        machine("linux-vm", "Starting"), at=now - 4 * HOUR, message="linux-vm: Pending → Starting"
    )
    fleet.write(machine("other"), at=now - 11000, message="other: created")
    fleet.write(vm, at=now - 9000, message="linux-vm: Starting → Running")
    result = gitvirt("describe", "vm", "linux-vm")
    assert result.code == 0
    words = [line.split() for line in result.lines]
    assert words[0] == ["Name:", "linux-vm"]
    assert ["Namespace:", "default"] in words
    assert ["Labels:", "app=web"] in words
    assert ["Phase:", "Running"] in words
    assert any(line.startswith("Created:") and line.endswith("(11m ago)") for line in result.lines)
    assert "    cores: 1" in result.lines
    assert "    id: fedora" in result.lines
    waiting = result.lines.index("Waiting for a restart:")
    assert result.lines[waiting + 1] == (
        "  cpu.cores: 1 → 2, because a guest has the cores, and the share of them, that it was started with"
    )
    conditions = words.index(["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"])
    assert words[conditions + 1] == ["AgentReady", "False", "AgentReady", "4h", "No", "agent."]
    events = words.index(["AGE", "COMMIT", "WHAT"])
    assert [(line[0], " ".join(line[2:])) for line in words[events + 1 :]] == [
        ("4h", "Pending → Starting"),
        ("150m", "Starting → Running"),
    ]


def test_an_event_is_what_a_commit_says_of_this_object(gitvirt: Gitvirt, fleet: Fleet) -> None:
    key = Key("VirtualMachine", "default", "linux-vm")
    news = Update(("ended by hand, started again", "10.0.2.15"))
    events = [
        Event(key._replace(name="a"), ("Starting", "Running")),
        Event(key, ("Running", "Running"), update=news),
    ]
    fleet.write(
        machine(), at=time.time() - 4 * HOUR, message=compose(Catalogue.load(), events, "c0ffee")
    )
    lines = gitvirt("describe", "vm", "linux-vm").lines
    assert lines[-1].split(maxsplit=2)[2] == "ended by hand, started again, 10.0.2.15"


def test_several_objects_stand_apart(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a"), whole("VirtualDisk", "root", {}, {"phase": "Ready"}))
    lines = gitvirt("describe", "vm/a", "vd/root").lines
    assert [line.split()[1] for line in lines if line.startswith("Name:")] == ["a", "root"]
    assert gitvirt("describe", "vm").lines[0].split() == ["Name:", "a"]


def test_one_that_is_not_there(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a"))
    result = gitvirt("describe", "vm", "b")
    assert result.code == 1
    assert result.err == "error: there is no VirtualMachine 'b' in namespace default\n"


def test_what_would_steer_a_terminal_is_written_out(gitvirt: Gitvirt, fleet: Fleet) -> None:
    evil = machine(
        conditions=(condition("Running", "False", "a\x1b\u202eb"),),
        status={
            "restartAwaitingChanges": [{"operation": "add", "path": "x", "desiredValue": "\u202e"}]
        },
    )
    fleet.write(evil, message="evil \x1b[2J")
    out = gitvirt("describe", "vm", "linux-vm").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "a\\u202eb" in out
    assert "x: + \\u202e" in out
    assert "evil \\x1b[2J" in out


def test_a_node_without_a_file_has_no_events(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent()
    assert gitvirt("describe", "node", "host-a").lines[-1] == "Events:  <none>"
