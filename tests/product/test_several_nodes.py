"""Several hosts: what is on one is done there, a lost one stops nothing but what is on it, and nothing runs twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.host import HostError
from agent.core.identity import POOL, disk_volume
from agent.core.model import Key
from agent.reconcile.host import SOON
from tests.memory_host import NODE, MemoryHost, Volume
from tests.rig import GIB, STATUS, Rig, condition, disk, machine, operation

UID = "00000000-0000-4000-8000-00000000000{}"


def host(number: int) -> MemoryHost:
    name = f"pt-{number}"
    return MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=f"uuid-{number}"))


def three(folder: Path) -> Rig:
    """Three nodes, the first of which is preferred for what is new."""
    first, *others = (host(number) for number in (1, 2, 3))
    return Rig(folder, host=first, others=tuple(others))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return three(tmp_path)


def data_on(rig: Rig, number: int, name: str) -> str:
    """A disk of this name has its data on that node already, as after a lost ledger; its volume."""
    volume = disk_volume("default", Key("VirtualDisk", "default", name), UID.format(number))
    at = rig.hosts[f"pt-{number}"]
    at.pools.setdefault(POOL, {})[volume] = Volume(f"/var/lib/libvirt/{POOL}/{volume}", GIB)
    return volume


def spread(rig: Rig) -> None:
    """A machine on each node: vm-1 on pt-1 and so on."""
    for number in (1, 2, 3):
        data_on(rig, number, f"d{number}")
    rig.push(
        {
            f"vm-{number}.yaml": [
                disk(f"d{number}"),
                machine(f"vm-{number}", disks=(f"d{number}",)),
            ]
            for number in (1, 2, 3)
        }
    )
    rig.settle()


def runs(rig: Rig, name: str) -> list[str]:
    """The nodes on which it runs."""
    uuid = rig.uuid(name)
    found = ((node, each._domains.get(uuid)) for node, each in rig.hosts.items())
    return [node for node, raw in found if raw is not None and raw.active]


def status(rig: Rig, name: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.vm(name)["status"]
    return found


def go(rig: Rig, seconds: float = SOON + 5) -> None:
    """Time goes on, and passes run."""
    end = rig.now + seconds
    rig.agent.reconciler.look_at_git()
    while rig.now < end:
        rig.step()
        rig.now += 1
    for _ in range(8):
        rig.step()


def test_a_machine_that_goes_takes_along_what_only_it_used_on_its_node(rig: Rig) -> None:
    data_on(rig, 2, "d2")
    provisioning = {"type": "UserData", "userData": "#cloud-config\n"}
    vm = machine("vm-2", disks=("d2",), provisioning=provisioning)
    rig.push({"disk.yaml": disk("d2"), "vm.yaml": vm})
    rig.settle()
    volumes = rig.hosts["pt-2"].pools[POOL]
    assert [name for name in volumes if "_seed_" in name]
    rig.push({"vm.yaml": None})
    rig.settle()
    assert not [name for name in volumes if "_seed_" in name]
    assert runs(rig, "vm-2") == []


def test_machines_run_where_their_disks_are(rig: Rig) -> None:
    spread(rig)
    for number in (1, 2, 3):
        assert runs(rig, f"vm-{number}") == [f"pt-{number}"]
        assert status(rig, f"vm-{number}")["nodeName"] == f"pt-{number}"
    nodes = rig.document("agent.yaml")["nodes"]
    assert [(each["name"], each["ready"], each["host"]) for each in nodes] == [
        (f"pt-{number}", True, f"uuid-{number}") for number in (1, 2, 3)
    ]


def test_what_is_new_goes_to_the_first_node(rig: Rig) -> None:
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert runs(rig, "vm") == ["pt-1"]
    assert status(rig, "vm")["home"] == "pt-1"


def test_where_it_belongs_is_written_before_anything_is_made_there(rig: Rig) -> None:
    seen: list[Any] = []

    def look(verb: str, phase: str) -> None:
        if (verb, phase) in (("create_volume", "before"), ("define", "before")):
            kind = "virtualdisks/root" if verb == "create_volume" else "virtualmachines/vm"
            found = rig.document(f"namespaces/default/{kind}.yaml")
            seen.append((verb, found["status"]["home"]))

    rig.host.on_effect = look
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert list(dict.fromkeys(seen)) == [("create_volume", "pt-1"), ("define", "pt-1")]


def test_one_node_alone_is_as_it_always_was(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.push({"vm.yaml": [machine(), disk()]})
    rig.settle()
    assert "home" not in status(rig, "vm")
    assert "home" not in rig.document("namespaces/default/virtualdisks/root.yaml")["status"]
    agent = rig.document("agent.yaml")
    assert "nodes" not in agent
    assert agent["node"]["name"] == "node-1"
    before = rig.documents()
    rig.host.disconnect()
    go(rig, 60)
    after = rig.documents()
    changed = {path for path in after if before.get(path) != after[path]}
    assert changed == {"agent.yaml", "README.md", "fleet.svg"}  # of its machines nothing is said


# -- a lost node -------------------------------------------------------------------------------


def test_a_lost_node_stops_nothing_on_the_others(rig: Rig) -> None:
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    go(rig)
    rig.push({"more.yaml": [disk("new"), machine("new", disks=("new",))]})
    changed = machine(
        "vm-3", disks=("d3",), cpu={"cores": 2}, disruptions={"restartApprovalMode": "Automatic"}
    )
    rig.push({"vm-3.yaml": [disk("d3"), changed]})
    go(rig, 120)
    assert runs(rig, "new") == ["pt-1"]
    assert status(rig, "vm-3")["resources"]["cpu"]["cores"] == 2
    assert runs(rig, "vm-3") == ["pt-3"]
    agent = rig.document("agent.yaml")
    assert agent["applied"]["revision"] == agent["attempted"]["revision"]


def test_a_machine_of_a_lost_node_is_unknown_and_started_nowhere_else(rig: Rig) -> None:
    spread(rig)
    lost = rig.hosts["pt-2"]
    before = status(rig, "vm-2")
    lost.disconnect()
    go(rig, 600)
    assert runs(rig, "vm-2") == ["pt-2"]
    now = status(rig, "vm-2")
    running = condition(rig.vm("vm-2"), "Running")
    assert (running["status"], running["reason"]) == ("Unknown", "NodeNotReady")
    assert running["message"].startswith("Node pt-2 cannot be read: ")
    assert {**now, "conditions": []} == {**before, "conditions": []}  # what was known stays
    ready = condition(rig.document("namespaces/default/virtualdisks/d2.yaml"), "Ready")
    assert ready["status"] == "Unknown"
    assert "**Node pt-2 is not ready.**" in rig.documents()["README.md"].decode()
    lost.reconnect()
    rig.settle()
    assert status(rig, "vm-2")["phase"] == "Running"
    assert condition(rig.vm("vm-2"), "Running")["status"] == "True"
    assert "is not ready" not in rig.documents()["README.md"].decode()


@pytest.mark.parametrize("how", ["lost", "mute"])
def test_what_is_said_of_a_manifest_is_said_once_while_nobody_can_tell_more(
    rig: Rig, how: str
) -> None:
    """Its status goes on from the one before, which says the same of it already."""
    spread(rig)

    def declare(metadata: dict[str, Any], **spec: Any) -> None:
        whole = machine("vm-2", disks=("d2",), metadata=metadata, **spec)
        rig.push({"vm-2.yaml": [disk("d2"), whole]})

    declare(
        {"annotations": {"gitvirt.io/reconcile": "disabled"}},
        usbDevices=[],
        gpus=[],
    )
    rig.settle()
    if how == "lost":
        rig.hosts["pt-2"].disconnect()
    else:
        rig.hosts["pt-2"].mute.add(rig.uuid("vm-2"))
        rig.hosts["pt-2"].reconnect()
    go(rig)
    tip = rig.repo.fetch()["refs/heads/status"]
    go(rig)
    kinds = [each["type"] for each in status(rig, "vm-2")["conditions"]]
    assert len(kinds) == len(set(kinds))
    assert {"FieldsSupported", "Suspended"} <= set(kinds)
    assert rig.repo.fetch()["refs/heads/status"] == tip
    declare({})
    go(rig)
    kinds = [each["type"] for each in status(rig, "vm-2")["conditions"]]
    assert not {"FieldsSupported", "Suspended"} & set(kinds)


def test_a_libvirtd_that_restarts_makes_no_machine_unknown(rig: Rig) -> None:
    spread(rig)
    before = rig.documents()["namespaces/default/virtualmachines/vm-2.yaml"]
    rig.hosts["pt-2"].disconnect()
    go(rig, SOON / 2)
    rig.hosts["pt-2"].reconnect()
    rig.settle()
    assert rig.documents()["namespaces/default/virtualmachines/vm-2.yaml"] == before


def test_an_agent_that_starts_while_a_node_is_away_starts_its_machines_nowhere(rig: Rig) -> None:
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    rig.start()
    go(rig, 600)
    assert runs(rig, "vm-2") == ["pt-2"]
    assert "vm-2" not in str([each._domains for each in (rig.hosts["pt-1"], rig.hosts["pt-3"])])
    assert condition(rig.vm("vm-2"), "Running")["status"] == "Unknown"
    rig.push(
        {"vm-3.yaml": [disk("d3"), machine("vm-3", disks=("d3",), metadata={"labels": {"a": "b"}})]}
    )
    go(rig)
    assert rig.vm("vm-3")["metadata"]["labels"] == {"a": "b"}  # those that are known go on
    rig.push({"stop.yaml": operation("stop", "vm-3", "Stop")}, "refs/heads/operations")
    go(rig)
    assert runs(rig, "vm-3") == []


def test_what_nobody_knows_is_not_made_as_long_as_a_node_was_never_read(rig: Rig) -> None:
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    rig.start()
    go(rig)
    rig.push({"new.yaml": [disk("new"), machine("new", disks=("new",))]})
    go(rig)
    assert "namespaces/default/virtualmachines/new.yaml" not in rig.documents()
    problems = rig.documents()["problems.yaml"].decode()
    assert "VirtualMachine default/new" in problems
    assert "may be on pt-2, out of reach since the agent started" in " ".join(problems.split())
    rig.hosts["pt-2"].reconnect()
    rig.settle()
    assert runs(rig, "new") == ["pt-1"]
    assert rig.documents()["problems.yaml"] == b"[]\n"


def test_a_lost_ledger_takes_up_the_data_of_a_node_that_comes_back(rig: Rig) -> None:
    """With the ledger gone, nobody but the node knows what is on it."""
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    del rig.repo.refs["refs/heads/status"]  # type: ignore[attr-defined]
    rig.start()
    go(rig)
    rig.hosts["pt-2"].reconnect()
    rig.settle()
    assert runs(rig, "vm-2") == ["pt-2"]
    found = rig.document("namespaces/default/virtualdisks/d2.yaml")
    assert found["metadata"]["uid"] == UID.format(2)
    assert [sorted(each.pools[POOL]) for each in rig.hosts.values()] == [
        [disk_volume("default", Key("VirtualDisk", "default", f"d{number}"), UID.format(number))]
        for number in (1, 2, 3)
    ]


def test_a_domain_that_was_there_is_not_made_anew_as_long_as_it_may_be_elsewhere(rig: Rig) -> None:
    """Somebody may have moved it by hand to the node that nobody can read."""
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    go(rig)
    uuid = rig.uuid("vm-1")
    with rig.host._lock:
        rig.host._drop(uuid)
    rig.host._tell(uuid, "lifecycle")
    go(rig, 120)
    assert runs(rig, "vm-1") == []
    assert "Node pt-2 cannot be read" in condition(rig.vm("vm-1"), "Running")["message"]
    rig.hosts["pt-2"].reconnect()
    rig.settle()
    assert runs(rig, "vm-1") == ["pt-1"]


def test_a_machine_of_a_lost_node_is_deleted_once_the_node_is_back(rig: Rig) -> None:
    spread(rig)
    rig.hosts["pt-2"].disconnect()
    go(rig)
    rig.push({"vm-2.yaml": disk("d2")})
    go(rig, 120)
    assert runs(rig, "vm-2") == ["pt-2"]
    assert rig.vm("vm-2")["metadata"]["deletionTimestamp"]
    rig.hosts["pt-2"].reconnect()
    rig.settle()
    assert rig.hosts["pt-2"].read_domain(rig.uuid("vm-2")) is None
    assert "namespaces/default/virtualmachines/vm-2.yaml" not in rig.documents()


def test_a_node_that_never_answers_keeps_nobody_waiting(rig: Rig) -> None:
    spread(rig)
    rig.start()
    side = rig.agent.reconciler._hosts._sides["pt-2"]
    held: list[object] = []
    side._lanes = replace(side._lanes, reads=held.append)
    go(rig)
    assert held  # it was asked, and says nothing
    stops = machine("vm-3", disks=("d3",), runPolicy="AlwaysOff")
    rig.push({"vm-3.yaml": [disk("d3"), stops]})
    go(rig, 30)
    assert runs(rig, "vm-3") == []
    assert condition(rig.vm("vm-2"), "Running")["status"] == "Unknown"
    told = {each["name"]: each for each in rig.document("agent.yaml")["nodes"]}
    assert (told["pt-2"]["ready"], told["pt-2"]["message"]) == (False, "it does not answer")


# -- one machine, one node -----------------------------------------------------------------------


def test_a_domain_on_two_nodes_is_left_alone_and_loudly_told(rig: Rig) -> None:
    spread(rig)
    uuid = rig.uuid("vm-2")
    other = rig.hosts["pt-3"]
    copied = rig.hosts["pt-2"].read_domain(uuid)
    assert copied is not None
    other.define(copied.inactive_xml)
    for each in rig.hosts.values():
        each.verbs.clear()
    rig.hosts["pt-2"].crash(uuid)  # it would be started again
    changed = machine("vm-2", disks=("d2",), cpu={"cores": 3})
    rig.push({"vm-2.yaml": [disk("d2"), changed]})
    go(rig, 60)
    assert runs(rig, "vm-2") == []
    assert not [
        verb for each in rig.hosts.values() for verb, _ in each.verbs if verb != "ensure_pool"
    ]
    found = condition(rig.vm("vm-2"), "Running")
    assert (found["status"], found["reason"]) == ("Unknown", "DomainOnSeveralNodes")
    assert "on the nodes pt-2 and pt-3 at once" in found["message"]
    assert "on the nodes pt-2 and pt-3 at once" in rig.documents()["README.md"].decode()
    # nor as long as one of them is away, whichever it is
    for away in ("pt-2", "pt-3"):
        rig.hosts[away].disconnect()
        rig.start()
        go(rig, 60)
        assert runs(rig, "vm-2") == []
        rig.hosts[away].reconnect()
    rig.settle()
    other.undefine(uuid)
    rig.settle()
    assert runs(rig, "vm-2") == ["pt-2"]
    assert status(rig, "vm-2")["home"] == "pt-2"


def test_disks_of_two_nodes_are_no_machines(rig: Rig) -> None:
    data_on(rig, 2, "a")
    data_on(rig, 3, "b")
    rig.push({"vm.yaml": [disk("a"), disk("b"), machine(disks=("a", "b"))]})
    rig.settle()
    assert runs(rig, "vm") == []
    message = condition(rig.vm(), "Running")["message"]
    assert "0/3 nodes are available: 3 node(s) had volume node affinity conflict." in message
    assert "lie on different nodes (a on pt-2, b on pt-3)" in message


def test_two_names_of_one_host_are_refused(tmp_path: Path) -> None:
    twin = MemoryHost(node=replace(NODE, name="pt-2", host="uuid-1"))
    rig = Rig(tmp_path, host=host(1), others=(twin,))
    rig.push({"vm.yaml": [machine(), disk()]})
    go(rig, 60)
    told = {each["name"]: each for each in rig.document("agent.yaml")["nodes"]}
    assert told["pt-1"]["ready"]
    assert not told["pt-2"]["ready"]
    assert "the same host as node pt-1 (UUID uuid-1)" in told["pt-2"]["message"]
    assert [verb for verb, _ in twin.verbs if verb != "ensure_pool"] == []


def test_a_host_with_a_new_name_keeps_its_machines(tmp_path: Path) -> None:
    rig = three(tmp_path)
    spread(rig)
    renamed = rig.hosts["pt-2"]
    renamed.node = replace(renamed.node, name="zz-9")
    renamed.name = "zz-9"
    rig.start()
    rig.settle()
    assert [each["name"] for each in rig.document("agent.yaml")["nodes"]] == [
        "pt-1",
        "zz-9",
        "pt-3",
    ]
    assert status(rig, "vm-2")["nodeName"] == status(rig, "vm-2")["home"] == "zz-9"
    assert [verb for verb, _ in renamed.verbs if verb == "start"] == ["start"]


def test_a_node_that_no_setting_names_any_more_is_not_absent(tmp_path: Path) -> None:
    rig = three(tmp_path)
    spread(rig)
    gone = rig.others[0]
    rig.others = rig.others[1:]
    rig.start()
    go(rig, 600)
    told = {each["name"]: each for each in rig.document("agent.yaml")["nodes"]}
    assert not told["pt-2"]["ready"]
    assert "not among the nodes of the settings" in told["pt-2"]["message"]
    assert rig.uuid("vm-2") in gone._domains
    assert runs(rig, "vm-2") == []
    assert "not among the nodes" in condition(rig.vm("vm-2"), "Running")["message"]


# -- images ------------------------------------------------------------------------------------


def test_nothing_hangs_on_a_node_that_answers_nothing(rig: Rig) -> None:
    """Every call of it raises: the others are read, and act."""
    mute = rig.hosts["pt-1"]

    def refuse(_: object) -> Any:
        raise HostError("Timeout", "no answer within 60 seconds")

    mute.read = refuse  # type: ignore[assignment,method-assign]
    rig.push({"vm.yaml": [machine(), disk()]})
    go(rig, 60)
    assert "namespaces/default/virtualmachines/vm.yaml" not in rig.documents()  # it may be there
    del mute.read
    go(rig, 60)
    assert runs(rig, "vm") == ["pt-1"]


def test_a_machine_that_somebody_has_moved_is_not_started_where_it_was(rig: Rig) -> None:
    """No event told of it: what is on the other nodes is looked at right before."""
    data_on(rig, 1, "d1")
    rig.push({"vm.yaml": [disk("d1"), machine("vm-1", disks=("d1",), runPolicy="AlwaysOff")]})
    rig.settle()
    uuid = rig.uuid("vm-1")
    first, second = rig.hosts["pt-1"], rig.hosts["pt-2"]
    second._put(first._domains[uuid])
    rig.push({"vm.yaml": [disk("d1"), machine("vm-1", disks=("d1",), runPolicy="AlwaysOn")]})
    go(rig)
    assert runs(rig, "vm-1") == []
    assert condition(rig.vm("vm-1"), "Running")["reason"] == "DomainOnSeveralNodes"


def test_what_has_a_disk_of_a_machine_on_another_node_is_looked_at_before_a_start(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """No event tells of a snapshot taken by hand, after which a disk's newest data is elsewhere."""
    data_on(rig, 1, "d1")
    rig.push({"vm.yaml": [disk("d1"), machine("vm-1", disks=("d1",), runPolicy="AlwaysOff")]})
    rig.settle()
    uuid = rig.uuid("vm-1")
    first, second = rig.hosts["pt-1"], rig.hosts["pt-2"]
    own = first._domains[uuid]
    other = own.inactive_xml.replace(uuid, UID.format(9)).replace("default.vm-1<", "other<")
    second.define(other)
    rig.settle()
    seen = second._domains[UID.format(9)]
    second._put(replace(seen, inactive_xml=f"{other}<!-- a snapshot -->"))
    rig.push({"vm.yaml": [disk("d1"), machine("vm-1", disks=("d1",), runPolicy="AlwaysOn")]})
    with caplog.at_level("INFO", "gitvirt"):
        rig.settle()
    told = "a domain that has a disk of its own was changed meanwhile: deciding anew"
    assert [record.message for record in caplog.records if told in record.message] == [
        f"VirtualMachine default/vm-1: StartDomain: {told}"
    ]
    assert runs(rig, "vm-1") == ["pt-1"]


@pytest.mark.parametrize("seconds", [0, SOON - 2])
def test_an_agent_that_waits_for_a_node_does_nothing_on_others_by_an_older_commit(
    rig: Rig, seconds: float
) -> None:
    """The one before it had stopped the machine, and died before it could write that down."""
    spread(rig)
    vm = machine("vm-1", disks=("d1",), runPolicy="AlwaysOn")
    rig.push({"vm-1.yaml": [disk("d1"), vm]})
    rig.settle()
    tip = rig.repo.fetch()[STATUS]
    rig.push({"vm-1.yaml": [disk("d1"), {**vm, "spec": {**vm["spec"], "runPolicy": "AlwaysOff"}}]})
    rig.settle()
    assert runs(rig, "vm-1") == []
    rig.repo.refs[STATUS] = tip  # type: ignore[attr-defined]
    rig.slow.add("pt-3")
    rig.verbs()
    rig.start()
    go(rig, seconds)
    assert rig.verbs() == []
    rig.quick("pt-3")
    go(rig, 3 * SOON)
    assert runs(rig, "vm-1") == []
    assert "start" not in rig.verbs()


def handed_over(rig: Rig) -> MemoryHost:
    """Somebody has migrated vm-1 to a host that nobody reads, with `virsh migrate --live`."""
    spread(rig)
    host = rig.hosts["pt-1"]
    raw = host._domains[rig.uuid("vm-1")]
    host._put(replace(raw, state="shutoff", reason="migrated", active_xml=""))
    host._tell(raw.uuid, "lifecycle")
    go(rig)
    return host


def test_what_somebody_has_migrated_away_is_not_started_where_it_was(rig: Rig) -> None:
    host = handed_over(rig)
    found = condition(rig.vm("vm-1"), "Running")
    assert (found["status"], found["reason"]) == ("Unknown", "DomainSentAway")
    assert "node pt-1 to another host" in found["message"]
    host._put(replace(host._domains[rig.uuid("vm-1")], reason="unknown"))  # libvirtd restarts
    rig.verbs()
    rig.start()
    go(rig, 100)
    assert rig.verbs() == []
    assert condition(rig.vm("vm-1"), "Running")["reason"] == "DomainSentAway"


def test_what_was_migrated_away_goes_on_once_somebody_says_that_it_runs_nowhere(rig: Rig) -> None:
    host = handed_over(rig)
    host.start(rig.uuid("vm-1"))
    host._tell(rig.uuid("vm-1"), "lifecycle")
    go(rig)
    assert status(rig, "vm-1")["phase"] == "Running"
    host.crash(rig.uuid("vm-1"))
    go(rig)
    assert runs(rig, "vm-1") == ["pt-1"]
