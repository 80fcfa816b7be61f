"""A plan looks at what changes and what that has to do with, and says what it would say if it looked at everything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.ledger import Record
from agent.core.model import Key, Manifest, Object
from agent.reconcile.book import Book
from agent.reconcile.plans import planning
from agent.reconcile.plans.items import PlanReport
from agent.reconcile.status_branch import Ledger
from tests.plans import CATALOGUE, branch, desired, report
from tests.rig import MAIN, OPERATIONS, Rig, disk, machine, manifest, operation

VMS, DISKS = range(8), range(12)
MODEL = {"type": "Model", "model": "Nehalem"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def vm(number: int, chance: random.Random) -> dict[str, Any]:
    disks = chance.sample(DISKS, chance.randint(1, 3))
    return machine(
        f"vm-{number}",
        disks=tuple(f"disk-{each}" for each in disks),
        metadata={"labels": {"tier": chance.choice("abc")}},
        virtualMachineClassName=chance.choice(["host", "mine", "nowhere"]),
        cpu={"cores": chance.choice([1, 2])},
        runPolicy=chance.choice(["AlwaysOn", "AlwaysOff", "Manual"]),
        disruptions={"restartApprovalMode": chance.choice(["Manual", "Automatic"])},
    )


def own_class(chance: random.Random) -> dict[str, Any]:
    sizes = [{"cores": {"min": 1, "max": chance.choice([1, 4])}}]
    return manifest("VirtualMachineClass", "mine", {"cpu": MODEL, "sizingPolicies": sizes})


def files(chance: random.Random, share: float) -> dict[str, Any]:
    """New versions of about such a share of a fleet's files; some of them are removed."""
    made: dict[str, Any] = {f"vm-{each}.yaml": vm(each, chance) for each in VMS}
    made |= {f"disk-{n}.yaml": disk(f"disk-{n}", chance.choice(["1Gi", "2Gi"])) for n in DISKS}
    made["class.yaml"] = own_class(chance)
    return {path: each for path, each in made.items() if chance.random() < share}


def changes(rig: Rig, chance: random.Random) -> dict[str, Any]:
    found = files(chance, chance.choice([0.05, 0.2, 0.6]))
    there = {file.path for file in rig.repo.files(rig.repo.fetch()[MAIN])}
    gone = {path for path in found if path in there and chance.random() < 0.3}
    return {**found, **dict.fromkeys(gone)}


def plans(rig: Rig, new: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[PlanReport]:
    """The plan, and the one that has looked at everything."""
    commit = branch(rig, "planned", new)
    wanted = desired(rig, commit)
    assert hasattr(rig.repo, "refs")
    del rig.repo.refs["refs/heads/planned"]
    yield report(rig, wanted)
    with monkeypatch.context() as patch:
        patch.setattr(
            planning, "related", lambda _, records, keys, named: {*records, *keys, *named}
        )
        yield report(rig, wanted)


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_says_the_same_as_one_that_looks_at_everything(
    rig: Rig, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    rig.push({**files(chance, 0.8), "keep.yaml": disk("keep")})
    rig.settle()
    for turn in range(4):
        new = changes(rig, chance)
        found, whole = plans(rig, new, monkeypatch)
        touched = {item.key for item in found.items}
        assert found.problems == whole.problems
        assert found.items == [
            item for item in whole.items if item.key in touched or item.operation != "act"
        ]
        if turn % 2:
            rig.push(new)
            number = chance.choice(VMS)
            asked = operation(f"op-{turn}", f"vm-{number}", chance.choice(["Stop", "Start"]))
            rig.push({f"op-{turn}.yaml": asked}, OPERATIONS)
            rig.settle()


def test_others_count_where_too_much_would_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.push({f"{number}.yaml": disk(f"disk-{number}") for number in range(10)})
    rig.settle()
    for going, operation_ in ((3, "delete"), (4, "held"), (10, "held")):
        found, whole = plans(rig, {f"{n}.yaml": None for n in range(going)}, monkeypatch)
        assert found.items == whole.items
        assert [item.operation for item in found.items] == [operation_] * going


def test_a_plan_costs_what_changes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.push(
        {f"{n}.yaml": [disk(f"d-{n}"), machine(f"vm-{n}", disks=(f"d-{n}",))] for n in range(9)}
    )
    rig.settle()
    loaded: list[set[Key]] = []
    load = Book.load

    def seen(book: Book, ledger: Ledger) -> None:
        loaded.append(set(ledger.records))
        load(book, ledger)

    monkeypatch.setattr(Book, "load", seen)
    new = {"3.yaml": [disk("d-3"), machine("vm-3", disks=("d-3",), cpu={"cores": 2})]}
    found, _ = plans(rig, new, monkeypatch)
    assert [item.key.name for item in found.items] == ["vm-3"]
    names = {key.name for key in loaded[0] if key.kind != "VirtualMachineClass"}
    assert names == {"vm-3", "d-3"}


def test_who_holds_a_disk_and_what_it_needs_to_hold_it_are_related() -> None:
    def known(kind: str, name: str, spec: dict[str, Any]) -> tuple[Key, Record]:
        key = Key(kind, "default", name)
        return key, Record(Object(Manifest(key, {}, {}, {"spec": spec}), name, 1, "", ""), {})

    def refs(*names: str) -> dict[str, Any]:
        return {
            "virtualMachineClassName": "host",
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name} for name in names],
        }

    records = dict(
        [
            known("VirtualMachine", "one", refs("shared")),
            known("VirtualMachine", "other", refs("shared", "own")),
            known("VirtualMachine", "stranger", refs("apart")),
            known("VirtualMachineOperation", "stop", {"virtualMachineName": "other"}),
            *(known("VirtualDisk", name, {}) for name in ("shared", "own", "apart")),
        ]
    )
    (one,) = (key for key in records if key.name == "one")
    found = planning.related(CATALOGUE, records, {one}, set())
    assert {key.name for key in found} == {"one", "host", "shared", "other", "own", "stop"}
    found = planning.related(CATALOGUE, records, {one._replace(name="other")}, set())
    assert "stop" in {key.name for key in found}
    found = planning.related(CATALOGUE, records, {Key("VirtualMachineClass", "", "host")}, set())
    assert {"one", "other", "stranger", "apart"} <= {key.name for key in found}


def from_image(name: str) -> dict[str, Any]:
    ref = {"kind": "VirtualImage", "name": "image"}
    return manifest("VirtualDisk", name, {"dataSource": {"type": "ObjectRef", "objectRef": ref}})


def image() -> dict[str, Any]:
    source = {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/x"}}
    return manifest("VirtualImage", "image", {"storage": "ContainerRegistry", "dataSource": source})


@pytest.mark.parametrize(
    ("main", "new"),
    [
        (
            {"new": from_image("new"), "first": machine("first", disks=("old",))},
            {"image": image()},
        ),
        (
            {
                "new": disk("new"),
                "first": machine("first", disks=("old",)),
                "holder": machine("holder", disks=("new",)),
                "spare": disk("spare"),
            },
            {
                "holder": machine(
                    "holder", disks=("spare",), disruptions={"restartApprovalMode": "Automatic"}
                )
            },
        ),
    ],
    ids=["an image that comes", "a disk that is let go"],
)
def test_a_machine_that_gets_one_disk_of_two_still_waits_for_who_holds_the_other(
    rig: Rig, main: dict[str, Any], new: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"old.yaml": disk("old"), **{f"{name}.yaml": each for name, each in main.items()}})
    rig.settle()
    rig.push({"waits.yaml": machine("waits", disks=("new", "old"))})
    rig.settle()
    changed = {f"{name}.yaml": each for name, each in new.items()}
    found, whole = plans(rig, changed, monkeypatch)
    assert found.items == whole.items
    assert "waits" not in {item.key.name for item in found.items}
