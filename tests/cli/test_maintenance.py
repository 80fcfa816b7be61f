"""`gitvirt cordon`, `uncordon`, `drain`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import ledger
from agent.core.status import seconds
from agent.gitrepo.local import LocalRepository
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine, whole

EVACUATE = "gitvirt.io/evacuate"
BLOCKED = "Node host-a is being drained. 0/2 nodes are available: 1 Insufficient memory."


def file(fleet: Fleet, name: str = "host-a") -> dict[str, Any] | None:
    """The node's file on the branch of operations."""
    with LocalRepository(fleet.root, lambda: 0.0) as repository:
        tip = repository.fetch().get("refs/heads/operations")
        data = repository.read_path(tip, f"nodes/{name}.yaml") if tip is not None else None
        return ledger.load(data) if data is not None else None


def node(name: str = "host-a", *, source: str = "built-in", **annotations: str) -> dict[str, Any]:
    made = whole("Node", name, {"unschedulable": True}, {}, namespace="")
    made["metadata"]["annotations"] = {
        "gitvirt.io/source": source,
        **{f"gitvirt.io/{key}": text for key, text in annotations.items()},
    }
    return made


@pytest.fixture(autouse=True)
def known(fleet: Fleet) -> None:
    fleet.agent()


def test_cordon_marks_the_node_once(gitvirt: Gitvirt, fleet: Fleet) -> None:
    assert gitvirt("cordon", "host-a").out == "node/host-a cordoned\n"
    assert file(fleet) == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "host-a"},
        "spec": {"unschedulable": True},
    }
    assert gitvirt("cordon", "host-a").out == "node/host-a already cordoned\n"


def test_a_node_that_nobody_knows_is_an_error(gitvirt: Gitvirt, fleet: Fleet) -> None:
    ended = gitvirt("cordon", "host-x")
    assert ended.code == 1
    assert "there is no node 'host-x'; known are host-a" in ended.err
    assert file(fleet, "host-x") is None


def test_uncordon_takes_the_marks_away_and_leaves_the_rest(gitvirt: Gitvirt, fleet: Fleet) -> None:
    gitvirt("cordon", "host-a")
    assert gitvirt("uncordon", "host-a").out == "node/host-a uncordoned\n"
    assert file(fleet) is None
    assert gitvirt("uncordon", "host-a").out == "node/host-a already uncordoned\n"
    fenced = {"gitvirt.io/fenced": "2030-01-01T00:00:00Z"}
    marked = {**node(), "metadata": {"name": "host-a", "annotations": {**fenced, EVACUATE: "x"}}}
    operations(fleet, marked)
    gitvirt("uncordon", "host-a")
    left = file(fleet)
    assert left is not None
    assert (left["metadata"]["annotations"], left["spec"]) == (fenced, {})


def operations(fleet: Fleet, document: Mapping[str, Any]) -> None:
    commit(fleet, "refs/heads/operations", {"nodes/host-a.yaml": ledger.dump(document)})


def commit(fleet: Fleet, ref: str, files: Mapping[str, bytes]) -> None:
    with LocalRepository(fleet.root, lambda: 0.0) as repository:
        repository.commit(ref, repository.fetch().get(ref), files, "x")


def test_uncordon_names_the_file_on_main_that_cordons_the_node(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    manifest = {**node(), "metadata": {"name": "host-a"}}
    commit(fleet, "refs/heads/main", {"hosts/a.yaml": ledger.dump(manifest)})
    fleet.write(node(source="0" * 40 + ":hosts/a.yaml"))
    ended = gitvirt("uncordon", "host-a")
    assert ended.code == 1
    assert "stays cordoned by hosts/a.yaml on main" in ended.err
    manifest["spec"] = {}
    commit(fleet, "refs/heads/main", {"hosts/a.yaml": ledger.dump(manifest)})
    assert gitvirt("uncordon", "host-a").code == 0


def vm(
    name: str, *more: Mapping[str, Any], phase: str = "Running", **status: Any
) -> dict[str, Any]:
    return machine(name, phase, conditions=(condition("Running"), *more), status=status)


LEAVES = condition("Schedulable", "False", message="Node host-a is being drained.")


SELECTOR = "vm.kubevirt.internal.virtualization.deckhouse.io/name"
AS_TYPED = (
    ("--ignore-daemonsets", "--delete-emptydir-dat"),
    ("--pod-selector", SELECTOR, "--delete-emptydir-data"),
    (f"--pod-selector={SELECTOR}", "--ignore-daemonsets=true", "--force=true"),
    ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--grace-period=-1"),
    ("--grace-period", "60", "--disable-eviction", "--skip-wait-for-delete-timeout=10"),
)


@pytest.mark.promise("S259")
@pytest.mark.parametrize("flags", AS_TYPED, ids=str)
def test_drain_waits_until_all_have_left_and_knows_the_flags_of_kubectl(
    gitvirt: Gitvirt, fleet: Fleet, flags: tuple[str, ...]
) -> None:
    fleet.write(vm("one", LEAVES), vm("two", LEAVES), vm("off", phase="Stopped"))

    def play() -> None:
        fleet.write(node(evacuate="2030-01-01T00:00:00Z"))
        fleet.write(vm("one", nodeName="host-b"))
        fleet.write(vm("two", nodeName="host-b"))

    playing = threading.Thread(target=play)
    playing.start()
    ended = gitvirt("drain", "host-a", *flags, "--timeout", "30s")
    playing.join()
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert (lines[0], lines[-1]) == ("node/host-a cordoned", "node/host-a drained")
    marked = file(fleet)
    assert marked is not None
    assert marked["spec"] == {"unschedulable": True}
    since = marked["metadata"]["annotations"][EVACUATE]
    assert seconds(since) > 0
    gitvirt("drain", "host-a", "--timeout", "30s")
    again = file(fleet)
    assert again is not None
    assert again["metadata"]["annotations"][EVACUATE] == since  # it goes on with the same


@pytest.mark.parametrize("selector", ["app=web", f"{SELECTOR}=linux-vm", f"{SELECTOR},app=web"])
def test_drain_leaves_a_node_alone_of_which_only_a_part_is_meant(
    gitvirt: Gitvirt, fleet: Fleet, selector: str
) -> None:
    fleet.write(vm("one", LEAVES))
    ended = gitvirt("drain", "host-a", "--pod-selector", selector)
    assert ended.code == 1
    assert f"--pod-selector {selector}: a node is drained of all its machines" in ended.err
    assert file(fleet) is None


def test_drain_says_who_stays_and_why(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fixed = condition("Migratable", "False", message="It has a device of its host.")
    full = condition("Schedulable", "False", message=BLOCKED)
    fleet.write(vm("one", LEAVES, fixed), vm("two", full), node(evacuate="2030-01-01T00:00:00Z"))
    ended = gitvirt("drain", "host-a", "--timeout", "30s")
    assert ended.code == 1
    assert (
        "virtualmachine default/one stays on node host-a: It has a device of its host." in ended.err
    )
    assert "virtualmachine default/two stays on node host-a: Node host-a is being" in ended.err
    assert "node host-a is cordoned and not drained: 2 left" in ended.err
    assert fleet.operations().keys() == {"nodes/host-a.yaml"}  # nothing is stopped


def test_drain_of_the_only_node_says_at_once_why_its_machines_stay(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    alone = condition("Migratable", "False", message="There is no other node.")
    fleet.write(vm("one", alone), node(evacuate="2030-01-01T00:00:00Z"))
    ended = gitvirt("drain", "host-a", "--timeout", "30s")
    assert ended.code == 1
    assert "virtualmachine default/one stays on node host-a: There is no other node." in ended.err
    assert "node host-a is cordoned and not drained: 1 left" in ended.err


def test_drain_ends_with_its_time(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(vm("one", LEAVES), node(evacuate="2030-01-01T00:00:00Z"))
    ended = gitvirt("drain", "host-a", "--timeout", "0.2s")
    assert ended.code == 1
    assert "virtualmachine default/one stays on node host-a: it is on its way" in ended.err


def test_drain_stops_what_cannot_move_if_asked(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fixed = condition("Migratable", "False", message="It has a device of its host.")
    fleet.write(vm("one", LEAVES, fixed), node(evacuate="2030-01-01T00:00:00Z"))
    done = threading.Event()

    def play() -> None:
        while not done.is_set():
            if any("VirtualMachineOperation" in str(each) for each in fleet.operations().values()):
                fleet.write(vm("one", phase="Stopped"))
                return

    playing = threading.Thread(target=play)
    playing.start()
    ended = gitvirt("drain", "host-a", "--stop", "--timeout", "30s")
    done.set()
    playing.join()
    assert ended.code == 0
    assert "stopping virtualmachine default/one" in ended.out
    (asked,) = (each for path, each in fleet.operations().items() if "nodes/" not in path)
    assert asked["spec"] == {"type": "Stop", "virtualMachineName": "one"}
