"""Operations that ended long ago are cleared away, and none is ever run twice for it."""

from __future__ import annotations

import pytest

from agent.core.metadata import KEPT_OPERATIONS
from agent.core.quantity import format_bytes
from tests.rig import MAIN, OPERATIONS, STATUS, Rig, disk, machine, operation

HOUR = 3600.0


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.verbs()
    return rig


def ask(rig: Rig, name: str, kind: str = "Restart", ref: str = OPERATIONS) -> None:
    force = {} if kind == "Start" else {"force": True}
    rig.push({f"{name}.yaml": operation(name, "vm", kind, **force)}, ref)
    rig.settle()


def files(rig: Rig, ref: str = OPERATIONS) -> set[str]:
    return {file.path for file in rig.repo.files(rig.repo.fetch()[ref])}


def records(rig: Rig) -> set[str]:
    return {
        path.rsplit("/", 1)[-1].removesuffix(".yaml")
        for path in rig.documents()
        if "/virtualmachineoperations/" in path
    }


def later(rig: Rig, seconds: float) -> None:
    rig.now += seconds
    rig.settle()
    rig.settle()


def test_a_day_after_their_end_they_go(on: Rig) -> None:
    ask(on, "one")
    later(on, 10 * HOUR)
    ask(on, "two")
    later(on, 13 * HOUR)
    assert (files(on), records(on)) == ({"one.yaml", "two.yaml"}, {"one", "two"})
    later(on, 2 * HOUR)
    assert (files(on), records(on)) == ({"two.yaml"}, {"two"})
    log = list(on.repo.log(on.repo.fetch()[OPERATIONS], limit=1))
    assert log[0].subject == "Remove 1 finished operation"
    assert "[skip ci]" in log[0].body
    later(on, 24 * HOUR)
    assert (files(on), records(on)) == (set(), set())
    assert on.verbs().count("start") == 2


def test_also_those_that_failed(on: Rig) -> None:
    ask(on, "wrong", "Start")
    assert on.vmop("wrong")["status"]["phase"] == "Failed"
    later(on, 25 * HOUR)
    assert (files(on), records(on)) == (set(), set())


def test_ten_are_kept_for_each_machine(on: Rig) -> None:
    on.push({"other.yaml": machine("other", disks=())})
    on.push({"theirs.yaml": operation("theirs", "other", "Start")}, OPERATIONS)
    on.settle()
    for number in range(12):
        ask(on, f"op-{number:02}")
        on.now += 700
    later(on, 120)
    left = {f"op-{number:02}" for number in range(2, 12)} | {"theirs"}
    assert records(on) == left
    assert files(on) == {f"{name}.yaml" for name in left}


def test_what_stands_on_main_stays_as_long_as_its_file(on: Rig) -> None:
    before = on.repo.fetch()
    ask(on, "one", ref=MAIN)
    tip = on.repo.fetch()[MAIN]
    later(on, 48 * HOUR)
    assert on.repo.fetch()[MAIN] == tip
    assert OPERATIONS not in before
    assert OPERATIONS not in on.repo.fetch()
    assert records(on) == {"one"}
    on.push({"one.yaml": None})
    on.settle()
    assert records(on) == set()


def test_an_unfinished_one_is_never_removed(on: Rig) -> None:
    on.push({"disk.yaml": None, "vm.yaml": [disk(), machine(disks=("root", "absent"))]})
    on.settle()
    ask(on, "waits")  # what is missing keeps the VM from starting again
    later(on, 72 * HOUR)
    assert on.vmop("waits")["status"]["phase"] == "Pending"
    assert files(on) == {"waits.yaml"}
    assert on.running()


def test_a_file_goes_only_when_all_in_it_has_ended(on: Rig) -> None:
    both = [operation("done", "vm", "Restart", force=True), operation("waits", "vm", "Restart")]
    ask(on, "alone")
    on.push({"both.yaml": both[:1]}, OPERATIONS)
    on.settle()
    on.push({"vm.yaml": [disk(), machine(disks=("root", "absent"))]})
    on.push({"both.yaml": both, "notes.txt": "by hand\n"}, OPERATIONS)
    on.settle()
    on.push({"mixed.yaml": [operation("refused", "vm", "Start"), disk("stray")]}, OPERATIONS)
    on.settle()
    assert on.vmop("refused")["status"]["phase"] == "Failed"
    later(on, 48 * HOUR)
    assert files(on) == {"both.yaml", "mixed.yaml", "notes.txt"}
    assert records(on) == {"done", "waits", "refused"}


def test_somebody_who_pushes_meanwhile_loses_nothing(on: Rig) -> None:
    ask(on, "one")
    on.now += 25 * HOUR
    commit = on.repo.commit
    pushed: list[str] = []

    def race(ref: str, *args: object, **more: object) -> str:
        if ref == OPERATIONS and not pushed:
            pushed.append(ref)
            on.push({"two.yaml": operation("two", "vm", "Restart", force=True)}, OPERATIONS)
        return commit(ref, *args, **more)  # type: ignore[arg-type]

    on.repo.commit = race  # type: ignore[method-assign]
    on.settle()
    assert pushed
    assert on.vmop("two")["status"]["phase"] == "Completed"
    on.repo.commit = commit  # type: ignore[method-assign]
    later(on, 2 * HOUR)
    assert (files(on), records(on)) == ({"two.yaml"}, {"two"})


@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "another-agent"])
def test_the_same_file_again_is_the_same_operation(on: Rig, restarted: bool) -> None:
    ask(on, "one")
    later(on, 25 * HOUR)
    assert files(on) == set()
    if restarted:
        on.start()
    on.verbs()
    ask(on, "one")
    assert on.vmop("one")["status"]["phase"] == "Completed"
    assert on.verbs() == []


def test_what_a_domain_has_forgotten_is_a_new_request(on: Rig) -> None:
    ask(on, "one")
    for number in range(KEPT_OPERATIONS):
        on.now += 700
        ask(on, f"op-{number:02}")
    later(on, 25 * HOUR)
    assert files(on) == set()
    on.verbs()
    ask(on, "one")
    later(on, 60)
    assert on.verbs().count("start") == 1
    assert on.vmop("one")["status"]["phase"] == "Completed"


def test_it_costs_no_commits_when_nothing_is_due(on: Rig) -> None:
    ask(on, "one", ref=MAIN)
    later(on, 25 * HOUR)
    refs = {ref: on.repo.fetch().get(ref) for ref in (MAIN, OPERATIONS, STATUS)}
    for _ in range(5):
        later(on, HOUR)
    assert {ref: on.repo.fetch().get(ref) for ref in refs} == refs


def test_what_is_known_of_the_node_stands_beside_the_agent(rig: Rig) -> None:
    rig.push({"a.yaml": disk()})
    rig.settle()
    raw = rig.host.node
    assert rig.document("agent.yaml")["node"] == {
        "name": raw.name,
        "ready": True,
        "message": "",
        "memory": format_bytes(raw.memory),
        "libvirt": raw.libvirt_version,
    }


def test_a_long_name_has_a_short_file_which_takes_the_place_of_a_long_one(rig: Rig) -> None:
    name = "s" * 253
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {}}
    rig.push({"secret.yaml": secret, "disk.yaml": disk()})
    rig.settle()
    (path,) = (path for path in rig.documents() if "/secrets/" in path)
    assert len(path) <= 255
    assert rig.document(path)["metadata"]["name"] == name
    uid = rig.document(path)["metadata"]["uid"]
    former = f"namespaces/default/secrets/{name}.yaml"
    data = rig.documents()[path]
    rig.push({path: None, former: data}, STATUS)
    rig.start()
    rig.push({"secret.yaml": {**secret, "stringData": {"a": "b"}}})
    rig.settle()
    assert rig.document(path)["metadata"]["uid"] == uid
    assert former not in rig.documents()


@pytest.mark.parametrize("one_file", [False, True], ids=["files", "one-file"])
@pytest.mark.parametrize("kind", ["Start", "Restart"])
def test_ten_are_kept_at_once_of_many_in_one_push(on: Rig, kind: str, one_file: bool) -> None:
    """While the repository is read again and again, as it is where each write is news."""
    names = [f"op-{number:02}" for number in range(40)]
    force = {} if kind == "Start" else {"force": True}
    asked = {f"{name}.yaml": operation(name, "vm", kind, **force) for name in names}
    on.push({"all.yaml": list(asked.values())} if one_file else asked, OPERATIONS)
    begun = on.now
    while on.now < begun + 10:
        on.agent.reconciler.look_at_git()
        on.step()
        on.now += 0.5
    assert len(records(on)) == len(files(on)) == 10
    before = {name: on.vmop(name)["status"] for name in records(on)}
    assert on.verbs().count("start") == (kind == "Restart")
    on.start()
    on.settle()
    assert {name: on.vmop(name)["status"] for name in records(on)} == before
    assert on.verbs() == []


def test_a_file_of_that_name_is_never_written_over(on: Rig) -> None:
    place = "namespaces/default/virtualmachineoperations/op-9.yaml"
    on.push({place: disk("of-a-person")}, OPERATIONS)
    every = [operation(f"op-{number}", "vm", "Start") for number in range(12)]
    on.push({"all.yaml": every}, OPERATIONS)
    on.settle()
    later(on, 120)
    assert files(on) == {place, "all.yaml"}
