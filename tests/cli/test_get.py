from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.cli import printing
from agent.core.entries import Entry
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine, whole
from tests.gitrepo.git import GitServer


@pytest.mark.promise("S27", "S28", "S29")
@pytest.mark.parametrize("kind", ["vm", "VM", "virtualmachine", "virtualmachines"])
def test_one_machine(gitvirt: Gitvirt, fleet: Fleet, kind: str) -> None:
    fleet.write(machine(), machine("other"))
    result = gitvirt("get", kind, "linux-vm")
    assert result.code == 0
    assert result.err == ""
    assert result.lines[0].split() == ["NAME", "PHASE", "NODE", "IPADDRESS", "AGE"]
    assert re.fullmatch(r"linux-vm +Running +host-a +10\.66\.10\.12 +\w+", result.lines[1])
    assert len(result.lines) == 2


@pytest.mark.promise("S63")
@pytest.mark.parametrize("answers", ["True", "False"])
def test_wide_shows_the_agent(gitvirt: Gitvirt, fleet: Fleet, answers: str) -> None:
    fleet.write(machine(conditions=(condition("AgentReady", answers),)))
    head, row = gitvirt("get", "vm", "-o", "wide").lines
    assert row[head.index("AGENT") :].split()[0] == answers
    assert row[head.index("NEED RESTART") :].split()[0] == "False"


def test_json_can_be_filtered_for_what_is_ready(gitvirt: Gitvirt, fleet: Fleet) -> None:
    types = ["AgentReady", "BlockDevicesReady", "Running", "VirtualMachineClassReady"]
    fleet.write(machine(conditions=tuple(condition(name) for name in types)))
    value = json.loads(gitvirt("get", "vm", "linux-vm", "-o", "json").out)
    found = [each["type"] for each in value["status"]["conditions"]]
    assert [name for name in found if re.search(".*Ready", name)] == [*types[:2], types[3]]


@pytest.mark.promise("S126", "S127", "S244", "S245")
@pytest.mark.parametrize("kind", ["virtualmachineoperation", "vmop"])
def test_operations(gitvirt: Gitvirt, fleet: Fleet, kind: str) -> None:
    spec = {"type": "Restart", "virtualMachineName": "linux-vm"}
    fleet.write(whole("VirtualMachineOperation", "linux-vm-x7k2p", spec, {"phase": "InProgress"}))
    result = gitvirt("get", kind)
    assert result.lines[0].split() == ["NAME", "PHASE", "TYPE", "VIRTUALMACHINE", "AGE"]
    assert result.lines[1].split()[:4] == ["linux-vm-x7k2p", "InProgress", "Restart", "linux-vm"]


@pytest.mark.promise("S202", "S203", "S204")
@pytest.mark.parametrize("kind", ["virtualmachineblockdeviceattachment", "vmbda"])
def test_attachments(gitvirt: Gitvirt, fleet: Fleet, kind: str) -> None:
    ref = {"kind": "VirtualDisk", "name": "blank-disk"}
    spec = {"blockDeviceRef": ref, "virtualMachineName": "linux-vm"}
    status = {"phase": "Attached", "virtualMachineName": "linux-vm"}
    fleet.write(
        whole("VirtualMachineBlockDeviceAttachment", "attach-blank-disk", spec, status),
        whole("VirtualMachineBlockDeviceAttachment", "waits", spec, {"phase": "Pending"}),
    )
    result = gitvirt("get", kind, "attach-blank-disk")
    assert re.split("  +", result.lines[0]) == ["NAME", "PHASE", "VIRTUAL MACHINE NAME", "AGE"]
    assert result.lines[1].split()[:3] == ["attach-blank-disk", "Attached", "linux-vm"]
    head, row = gitvirt("get", kind, "waits", "-o", "wide").lines
    assert row[head.index("BLOCKDEVICE KIND") :].split()[:2] == ["VirtualDisk", "blank-disk"]
    assert row[head.index("VIRTUAL MACHINE NAME") : head.index("AGE")].strip() == ""


def test_yaml_is_the_whole_object_and_a_list_of_several(gitvirt: Gitvirt, fleet: Fleet) -> None:
    one, two = machine("a"), machine("b")
    fleet.write(one, two)
    assert yaml.safe_load(gitvirt("get", "vm", "a", "-o", "yaml").out)["spec"] == one["spec"]
    several = yaml.safe_load(gitvirt("get", "vm", "-o", "yaml").out)
    assert several["kind"] == "List"
    assert [each["metadata"]["name"] for each in several["items"]] == ["a", "b"]
    assert json.loads(gitvirt("get", "vm", "-o", "json").out)["items"][1]["status"] == two["status"]


def test_an_object_without_status_is_printed_as_it_is(gitvirt: Gitvirt, fleet: Fleet) -> None:
    secret = whole("Secret", "s")
    fleet.write(secret)
    assert yaml.safe_load(gitvirt("get", "secret", "s", "-o", "yaml").out) == secret


def test_names_and_jsonpath(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a"), machine("b", "Stopped"), whole("Secret", "s"))
    group = "virtualmachine.virtualization.deckhouse.io"
    assert gitvirt("get", "vm", "-o", "name").lines == [f"{group}/a", f"{group}/b"]
    assert gitvirt("get", "secrets", "-o", "name").lines == ["secret/s"]
    assert gitvirt("get", "vm", "a", "-o", "jsonpath={.status.phase}").out == "Running"
    every = "jsonpath={range .items[*]}{.metadata.name}={.status.phase};{end}"
    assert gitvirt("get", "vm", "-o", every).out == "a=Running;b=Stopped;"


def test_namespaces(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a"), machine("b", namespace="prod"))
    assert [line.split()[0] for line in gitvirt("get", "vm").lines] == ["NAME", "a"]
    assert [line.split()[0] for line in gitvirt("get", "vm", "-n", "prod").lines] == ["NAME", "b"]
    everywhere = gitvirt("get", "vm", "-A").lines
    assert [line.split()[:2] for line in everywhere] == [
        ["NAMESPACE", "NAME"],
        ["default", "a"],
        ["prod", "b"],
    ]


def test_cluster_wide_kinds_have_no_namespace(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(whole("VirtualMachineClass", "generic", {}, {"phase": "Ready"}))
    for more in ([], ["-A"], ["-n", "prod"], ["generic"]):
        result = gitvirt("get", "vmclass", *more)
        assert result.lines[1].split()[:2] == ["generic", "Ready"]


def test_labels_select(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a", labels={"app": "web"}), machine("b", labels={"app": "db"}))
    chosen = gitvirt("get", "vm", "-l", "app in (web)", "-o", "name")
    assert chosen.out == "virtualmachine.virtualization.deckhouse.io/a\n"


def test_several_kinds_stand_apart(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine(), whole("VirtualDisk", "root", {}, {"phase": "Ready"}))
    for argv in (["vm,vd"], ["all"], ["vm/linux-vm", "vd/root"]):
        lines = gitvirt("get", *argv).lines
        assert lines[1].startswith("virtualmachine.virtualization.deckhouse.io/linux-vm ")
        assert lines[2] == ""
        assert lines[3].split()[:2] == ["NAME", "PHASE"]
        assert lines[4].startswith("virtualdisk.virtualization.deckhouse.io/root ")


def test_nothing_is_no_error_and_says_where(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a"))
    here = gitvirt("get", "vd")
    assert (here.code, here.out) == (0, "")
    assert here.err == "No resources found in default namespace.\n"
    assert gitvirt("get", "vd", "-A").err == "No resources found.\n"
    assert gitvirt("get", "vmclass").err == "No resources found.\n"
    assert json.loads(gitvirt("get", "vd", "-o", "json").out)["items"] == []


def test_a_name_that_is_not_there_is_an_error_beside_those_that_are(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    fleet.write(machine("a"))
    result = gitvirt("get", "vm", "a", "b", "-n", "default")
    assert result.code == 1
    assert [line.split()[0] for line in result.lines] == ["NAME", "a"]
    assert result.err == "error: there is no VirtualMachine 'b' in namespace default\n"
    alone = gitvirt("get", "vm", "b", "-o", "json")
    assert (alone.code, alone.out) == (1, "")


def test_no_status_branch_says_what_to_do(gitvirt: Gitvirt, fleet: Fleet) -> None:
    result = gitvirt("get", "vm")
    assert result.code == 1
    assert "has no branch 'status' yet: start the agent" in result.err


def test_an_agent_that_is_silent_is_warned_of(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    fleet.beat(time.time() - 170)
    assert gitvirt("get", "vm").err == ""
    fleet.beat(time.time() - 300)
    result = gitvirt("get", "vm")
    assert result.err.startswith("warning: the agent was last seen 5m")
    assert result.code == 0
    (fleet.root / "refs/gitvirt/agent").unlink()
    assert "no agent has been seen" in gitvirt("get", "vm").err


def test_a_file_that_is_no_object_is_left_out_with_a_warning(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    folder = "namespaces/default/virtualmachines"
    fleet.write(machine("good"), files={f"{folder}/bad.yaml": {"metadata": "none"}})
    result = gitvirt("get", "vm")
    assert [line.split()[0] for line in result.lines] == ["NAME", "good"]
    assert "bad.yaml" in result.err


def test_a_remote_repository_is_read_too(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    with GitServer(fleet.root.parent, "agent", "s3cret") as server:
        argv = ["get", "vm", "-o", "name", "--repo", server.url("fleet.git"), "--username", "agent"]
        assert "error: " in gitvirt(*argv).err
        token = fleet.root.parent / "token"
        token.write_text(server.url("").replace("http://", "http://agent:s3cret@"))
        result = gitvirt(*argv, "--credentials-file", str(token))
    assert result.err == ""
    assert result.out == "virtualmachine.virtualization.deckhouse.io/linux-vm\n"


@pytest.mark.parametrize(
    "argv", [["vm", "web.prod"], ["vm/web.prod"], ["vm", "web.prod", "-n", "x"]]
)
def test_a_name_may_end_with_its_namespace(gitvirt: Gitvirt, fleet: Fleet, argv: list[str]) -> None:
    fleet.write(machine("web", namespace="prod"), machine("web"))
    value = json.loads(gitvirt("get", *argv, "-o", "json").out)
    assert value["metadata"]["namespace"] == "prod"
    assert "Namespace:" in gitvirt("describe", *argv).out
    assert gitvirt("wait", argv[0], *argv[1:], "--for", "phase=Running").code == 0


def test_a_whole_name_with_a_dot_comes_first(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("web", namespace="prod"), machine("web.prod"))
    value = json.loads(gitvirt("get", "vm", "web.prod", "-o", "json").out)
    assert value["metadata"]["name"] == "web.prod"


def test_a_name_that_is_too_long_for_a_file_is_found(gitvirt: Gitvirt, fleet: Fleet) -> None:
    name = "x" * 253
    fleet.write(whole("Secret", name))
    value = json.loads(gitvirt("get", "secret", name, "-o", "json").out)
    assert value["metadata"]["name"] == name
    assert gitvirt("get", "secret", name[:-1]).code == 1


def test_labels_are_a_column(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("a", labels={"tier": "db", "app": "web"}), machine("b"))
    lines = gitvirt("get", "vm", "--show-labels").lines
    assert [line.split()[-1] for line in lines] == ["LABELS", "app=web,tier=db", "<none>"]
    refused = gitvirt("get", "vm", "--show-labels", "-o", "yaml")
    assert (refused.code, refused.out) == (1, "")


SIZES = {"vm-10": "1Gi", "vm-9": "512Mi", "vm-2": "10Gi"}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (".metadata.name", ["vm-2", "vm-9", "vm-10"]),
        ("metadata.name", ["vm-2", "vm-9", "vm-10"]),
        ("{.spec.memory.size}", ["vm-9", "vm-10", "vm-2"]),
        (".metadata.labels.app", ["vm-10", "vm-2", "vm-9"]),
    ],
)
def test_objects_are_sorted_by_a_field(
    gitvirt: Gitvirt, fleet: Fleet, path: str, names: list[str]
) -> None:
    """Sizes by what they are worth, numbers in names by their value, those without it first."""
    made = [machine(name, labels={"app": "x"} if name == "vm-9" else {}) for name in SIZES]
    for each in made:
        each["spec"] = {**each["spec"], "memory": {"size": SIZES[each["metadata"]["name"]]}}
    fleet.write(*made)
    for output in ([], ["-o", "name"]):
        lines = gitvirt("get", "vm", "--sort-by", path, "--no-headers", *output).lines
        assert [line.split()[0].rpartition("/")[2] for line in lines] == names


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--sort-by", ".status.nothing"], "none of the objects has a field '.status.nothing'"),
        (["--sort-by", ".a["], "JSONPath cannot be read"),
        (["--sort-by", ".a", "-w"], "leave out --sort-by"),
        (["-o", "custom-columns=NAME"], "write HEADER:PATH"),
        (["-o", "custom-columns="], "write HEADER:PATH"),
        (["-o", "custom-columns=A:.a["], "JSONPath cannot be read"),
        (["-o", "custom-columns-file=/nonexistent"], "/nonexistent cannot be read"),
    ],
)
def test_what_cannot_be_sorted_or_shown_says_why(
    gitvirt: Gitvirt, fleet: Fleet, argv: list[str], said: str
) -> None:
    fleet.write(machine())
    result = gitvirt("get", "vm", *argv)
    assert (result.code, result.out) == (1, "")
    assert said in result.err


def test_columns_of_ones_own(gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path) -> None:
    fleet.write(machine("a"), machine("b", "Stopped"), whole("VirtualDisk", "root", {}, {}))
    columns = "VM:.metadata.name,STATE:{.status.phase},TYPES:.status.conditions[*].type,X:a"
    result = gitvirt("get", "vm,vd", "-o", f"custom-columns={columns}")
    assert result.lines[0].split() == ["VM", "STATE", "TYPES", "X"]
    assert [line.split()[:2] for line in result.lines[1:]] == [
        ["a", "Running"],
        ["b", "Stopped"],
        ["root", "<none>"],
    ]
    assert all(line.split()[-1] == "<none>" for line in result.lines[1:])
    assert "," in result.lines[1].split()[2]
    bare = gitvirt("get", "vm", "a", "-o", "custom-columns=VM:.metadata.name", "--no-headers")
    assert bare.out == "a\n"
    file = tmp_path / "columns"
    file.write_text("VM     STATE\n.metadata.name  .status.phase\n")
    assert gitvirt("get", "vm", "-o", f"custom-columns-file={file}").lines[1].split() == [
        "a",
        "Running",
    ]
    file.write_text("VM     STATE\n.metadata.name\n")
    assert gitvirt("get", "vm", "-o", f"custom-columns-file={file}").code == 1


def node(name: str, **spec: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def rows(gitvirt: Gitvirt, *argv: str) -> list[list[str]]:
    return [line.split() for line in gitvirt("get", *argv, "--no-headers").lines]


def test_a_node_is_there_without_a_manifest(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent(node={"name": "host-a", "ready": True, "message": "", "libvirt": "9.0.0"})
    assert rows(gitvirt, "nodes") == [["host-a", "Ready", "<none>", "9.0.0"]]
    found = json.loads(gitvirt("get", "node", "host-a", "-o", "json").out)
    assert found["status"]["conditions"][0]["type"] == "Ready"
    assert "Phase:" in gitvirt("describe", "node", "host-a").out
    assert gitvirt("wait", "node/host-a", "--for", "condition=Ready").code == 0
    assert gitvirt("get", "node", "host-b").code == 1


def test_every_node_of_several_is_there(gitvirt: Gitvirt, fleet: Fleet) -> None:
    lost = {"name": "pt-1", "ready": False, "message": "libvirt is gone"}
    fleet.agent(node=None, nodes=[{"name": "pt-2", "ready": True, "libvirt": "9.0.0"}, lost])
    assert rows(gitvirt, "nodes") == [
        ["pt-1", "NotReady", "<none>"],
        ["pt-2", "Ready", "<none>", "9.0.0"],
    ]


def test_a_node_says_whether_it_is_reached_and_takes_machines(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    fleet.write(node("host-a", unschedulable=True), node("other"))
    fleet.agent()
    states = {row[0]: row[1] for row in rows(gitvirt, "nodes")}
    assert states == {"host-a": "Ready,SchedulingDisabled", "other": "Unknown"}
    fleet.agent(node={"name": "host-a", "ready": False, "message": "libvirt is gone"})
    assert rows(gitvirt, "nodes")[0][1] == "NotReady,SchedulingDisabled"
    assert "libvirt is gone" in gitvirt("get", "node", "host-a", "-o", "yaml").out
    fleet.agent(node={"name": "", "ready": False, "message": "never seen"})
    assert {row[1] for row in rows(gitvirt, "nodes")} == {"Unknown"}


def test_watching_prints_a_line_a_change(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, moving = machine("a"), machine("a", "Migrating", status={"nodeName": "host-a"})
    fleet.write(running, machine("b"))
    printed: list[list[str]] = []
    seen = threading.Semaphore(0)

    class Printer(printing.TablePrinter):
        def __call__(self, entries: Sequence[Entry]) -> None:
            super().__call__(entries)
            printed.append([entry.name for entry in entries])
            seen.release()
            if len(printed) == 3:
                raise KeyboardInterrupt

    def act() -> None:
        """Each step follows when the command has shown the one before."""
        seen.acquire(timeout=20)
        fleet.write(moving)
        seen.acquire(timeout=20)
        fleet.write(gone=(moving,))

    monkeypatch.setattr(printing, "TablePrinter", Printer)
    agent = threading.Thread(target=act)
    agent.start()
    result = gitvirt("get", "vm", "-w", "--timeout", "20s")
    agent.join()
    assert result.code == 130
    assert printed == [["a", "b"], ["a"], ["a"]]
    assert [line.split()[:2] for line in result.lines] == [
        ["NAME", "PHASE"],
        ["a", "Running"],
        ["b", "Running"],
        ["a", "Migrating"],
        ["a", "Migrating"],
    ]
    assert result.lines[3].index("Migrating") == result.lines[0].index("PHASE")
    assert result.lines[3].index("host-a") == result.lines[0].index("NODE")  # though it is longer


def test_watching_ends_with_the_timeout(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    result = gitvirt("get", "vm", "-w", "--timeout", "0.05")
    assert result.code == 0
    assert len(result.lines) == 2


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("jsonpath={.metadata.name}={.status.phase};", ["a=Running;b=Stopped;"]),
        ("yaml", ["a", "b"]),
        ("json", ["a", "b"]),
    ],
)
def test_watching_gives_machines_each_object_by_itself(
    gitvirt: Gitvirt, fleet: Fleet, output: str, expected: list[str]
) -> None:
    fleet.write(machine("a"), machine("b", "Stopped"))
    result = gitvirt("get", "vm", "-w", "--timeout", "0.05", "-o", output)
    assert result.code == 0
    assert _read(output, result.out) == expected


def _read(output: str, text: str) -> list[str]:
    if output.startswith("jsonpath"):
        return [text]
    if output == "yaml":
        return [each["metadata"]["name"] for each in yaml.safe_load_all(text)]
    names, end = [], 0
    while end < len(text):
        value, end = json.JSONDecoder().raw_decode(text, end)
        names.append(value["metadata"]["name"])
        end += 1  # the line's end
    return names
