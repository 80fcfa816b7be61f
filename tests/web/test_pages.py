"""The fleet, its objects and its history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import Repository, RepositoryError
from agent.web.collector import Terms
from tests.fleets import CATALOGUE, CREATED, Fleet, condition, machine, whole
from tests.gitrepo.git import put
from tests.web.sites import HTML, JSON, data, look, opened, words

MANIFESTS = """\
apiVersion: v1
kind: List
items:
- apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualDisk
  metadata: {name: vm}
- apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualMachine
  metadata:
    name: vm
"""
FORGE = "https://git.example.com/vms/src/{commit}/{path}#L{line}"
CHANGE = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path / "fleet.git")
    fleet.agent()
    return fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[TestClient]:
    with opened(fleet, forge=FORGE) as client:
        yield client


def sourced(value: dict[str, object], commit: str, path: str) -> dict[str, object]:
    metadata = {**value["metadata"]}  # type: ignore[dict-item]
    metadata["annotations"] = {"gitvirt.io/source": f"{commit}:{path}"}
    return {**value, "metadata": metadata}


def test_the_fleet_says_what_is_wrong_what_waits_and_what_is_under_way(
    fleet: Fleet, client: TestClient
) -> None:
    awaits = condition("AwaitingRestartToApplyConfiguration", "True", "Restart it.")
    problem = {"file": "vms/a.yaml", "line": 3, "resource": "VirtualMachine default/a"}
    fleet.write(
        machine("bad", "Pending", conditions=(condition("Ok", "False", "Its disk is away."),)),
        machine("waits", conditions=(awaits,), status={"restartAwaitingChanges": [CHANGE]}),
        whole(
            "VirtualMachineOperation",
            "move",
            {"type": "Evict", "virtualMachineName": "waits"},
            {"phase": "InProgress", "progress": "42%"},
        ),
        whole("VirtualMachineOperation", "done", {"type": "Restart"}, {"phase": "Completed"}),
        files={"problems.yaml": [{**problem, "path": "spec.cpu", "message": "must be a mapping"}]},
    )
    shown = data(client, "/")
    assert shown["act"]["lines"][0]["message"] == "Its disk is away."
    assert [each["name"] for each in shown["act"]["lines"][0]["objects"]] == ["bad"]
    assert [(each["name"], each["paths"]) for each in shown["waiting"]] == [
        ("waits", ["cpu.cores"])
    ]
    assert [(each["name"], each["what"], each["progress"]) for each in shown["requests"]] == [
        ("move", "Evict waits", 42)
    ]
    assert shown["problems"][0]["where"] == "vms/a.yaml:3"
    said = words(client.get("/").text)
    for sentence in ("Its disk is away.", "must be a mapping", "42 %", "Evict waits"):
        assert sentence in said


def test_what_asks_for_nobody_looks_neither_wrong_nor_well(
    fleet: Fleet, client: TestClient
) -> None:
    fleet.write(
        machine("vm", conditions=(condition("Migratable", "False", "There is no other node."),)),
        whole("VirtualMachineOperation", "failed", {"type": "Evict"}, {"phase": "Failed"}),
    )
    tones = {
        part["phase"]: part["tone"]
        for kind in data(client, "/")["phases"]
        for part in kind["phases"]
    }
    assert (tones["Running"], tones["Failed"]) == ("fine", "rest")
    (limit,) = data(client, "/vms/default/vm")["conditions"]
    assert limit["weight"] == "limit"
    assert '<span class="state rest">Migratable</span>' in client.get("/vms/default/vm").text


def test_nodes_show_what_is_committed_and_what_is_left(fleet: Fleet, client: TestClient) -> None:
    sizes = {"capacity": {"memory": "64Gi"}, "allocatable": {"memory": "60Gi"}}
    status = {"phase": "Ready", **sizes, "committed": {"memory": "45Gi"}}
    fleet.write(whole("Node", "host-a", {}, status), machine("a"), machine("b", "Stopped"))
    (node,) = data(client, "/")["nodes"]
    assert (node["committed"], node["free"]) == (45 << 30, 15 << 30)
    assert node["machines"] == 1
    assert "45Gi of 60Gi" in words(client.get("/").text)


def test_an_object_shows_where_it_comes_from_and_who_changed_it(
    fleet: Fleet, client: TestClient
) -> None:
    commit = put(fleet.root, {"vms/vm.yaml": MANIFESTS})
    fleet.write(sourced(machine("vm"), commit, "vms/vm.yaml"), message="vm: Starting → Running")
    shown = data(client, "/vms/default/vm")
    assert shown["source"] == {
        "commit": commit,
        "path": "vms/vm.yaml",
        "line": 7,
        "href": f"https://git.example.com/vms/src/{commit}/vms/vm.yaml#L7",
    }
    assert [(each["author"], each["commit"]) for each in shown["changes"]] == [("Ada", commit)]
    assert [each["subject"] for each in shown["events"]] == ["Starting → Running"]
    assert shown["object"]["metadata"]["name"] == "vm"
    page = client.get("/vms/default/vm").text
    assert f'href="{shown["source"]["href"]}"' in page
    assert "gitvirt restart vm --wait" in page


def test_a_source_that_is_gone_takes_nothing_else_away(fleet: Fleet, client: TestClient) -> None:
    fleet.write(sourced(machine("vm"), "1" * 40, "vms/vm.yaml"))
    assert data(client, "/vms/default/vm")["source"]["line"] == 0
    assert client.get("/vms/default/vm").status_code == 200


def test_what_runs_stands_beside_what_is_wanted(fleet: Fleet, client: TestClient) -> None:
    value = machine("vm", spec={"cpu": {"cores": 2, "coreFraction": "100%"}})
    running = {**value["spec"], "cpu": {"cores": 1, "coreFraction": "100%"}}
    value["status"] |= {"runningSpec": running, "restartAwaitingChanges": [CHANGE]}
    fleet.write(value)
    shown = data(client, "/vms/default/vm")
    (change,) = shown["waits"]
    assert {"what": "Withdraw", "command": "git revert 0123456789ab"} in shown["commands"]
    assert (change["running"], change["wanted"]) == (1, 2)
    assert change["because"]
    page = client.get("/vms/default/vm").text
    assert '<del class="was">  cores: 1</del>' in page
    assert '<ins class="new">  cores: 2</ins>' in page
    assert page.count("<del") == page.count("<ins") == 1


def test_what_names_another_object_leads_to_it(fleet: Fleet, client: TestClient) -> None:
    fleet.write(
        machine("vm", status={"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}]}),
        whole("VirtualDisk", "root", {}, {"phase": "Ready"}),
    )
    assert 'href="/vds/default/root"' in client.get("/vms/default/vm").text
    fleet.write(gone=(whole("VirtualDisk", "root", {}, {}),))
    look(client)
    assert 'href="/vds/default/root"' not in client.get("/vms/default/vm").text


def test_what_moved_meanwhile_is_seen_and_what_went_is_said(
    fleet: Fleet, client: TestClient
) -> None:
    fleet.write(machine("vm"))
    assert data(client, "/vms/default/vm")["phase"] == "Running"
    fleet.write(machine("vm", "Stopped"))
    look(client)
    assert data(client, "/vms/default/vm")["phase"] == "Stopped"
    fleet.write(gone=(machine("vm"),))
    look(client)
    answer = client.get("/vms/default/vm")
    assert answer.status_code == 404
    assert "There is no VirtualMachine 'vm' in namespace default." in words(answer.text).replace(
        "&#39;", "'"
    )


def test_every_kind_has_a_page_an_object(fleet: Fleet, client: TestClient) -> None:
    objects = [whole(name, "it", {}, {"phase": "Ready"}) for name in CATALOGUE.kinds]
    fleet.write(*objects)
    for kind in CATALOGUE.kinds.values():
        path = "default/it" if kind.namespaced else "it"
        for headers in (HTML, JSON):
            answer = client.get(f"/{kind.plural}/{path}", headers=headers)
            assert answer.status_code == 200, kind.name


def test_columns_that_say_nothing_are_left_out(fleet: Fleet, client: TestClient) -> None:
    fleet.write(whole("Node", "host-a", {}, {"phase": "Ready"}))
    said = words(client.get("/nodes/host-a").text)
    assert "OS-IMAGE" not in said
    assert data(client, "/nodes/host-a")["columns"]["OS-IMAGE"] == "<unknown>"


def test_a_name_alone_means_the_namespace_default(fleet: Fleet, client: TestClient) -> None:
    fleet.write(machine("vm"), machine("vm", "Stopped", namespace="prod"))
    assert data(client, "/vms/vm")["namespace"] == "default"


def test_history_goes_back_page_by_page(fleet: Fleet, client: TestClient) -> None:
    for number in range(101):
        fleet.write(machine("vm", f"Phase{number}"), message=f"step {number}")
    newest = data(client, "/history")
    assert newest["commits"][0]["subject"] == "step 100"
    oldest = data(client, newest["older"])
    assert oldest["commits"][-1]["subject"] == "agent"
    assert oldest["older"] == ""
    assert len(newest["commits"]) + len(oldest["commits"]) == 102
    assert client.get("/history?before=0123").status_code == 200
    assert client.get(f"/history?before={'0' * 40}").status_code == 200


def test_plans_and_trash_have_pages(fleet: Fleet, client: TestClient) -> None:
    gone = whole("VirtualDisk", "data", {}, {"conditions": [condition("Deleted", "True", "Back.")]})
    files = {
        "trash/namespaces/default/virtualdisks/data.1.yaml": gone,
        "plans/refs%2Fheads%2Fmore%2Fcores.md": "### Plan: 1 to change",
    }
    fleet.write(files=files)
    (plan,) = data(client, "/plans")["plans"]
    assert plan["ref"] == "refs/heads/more/cores"
    assert "### Plan: 1 to change" in client.get(plan["href"]).text
    assert data(client, "/trash")["trash"][0]["message"] == "Back."
    assert "Back." in words(client.get("/trash").text)
    assert client.get("/plans/refs/heads/other").status_code == 404


def test_no_status_branch_is_no_error(tmp_path: Path) -> None:
    with opened(Fleet(tmp_path / "fleet.git")) as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert "start the agent on it" in words(answer.text)
        assert client.get("/vms").status_code == 200
        assert client.get("/history").status_code == 200


def test_another_fleets_branch_is_shown_as_such(fleet: Fleet) -> None:
    with opened(fleet, terms=Terms(fleet="blue")) as client:
        assert "status branch of fleet default" in words(client.get("/").text)


def test_a_silent_agent_is_said(fleet: Fleet) -> None:
    fleet.beat(1_000_000.0)
    with opened(fleet, clock=lambda: 1_000_000.0 + 3600) as client:
        assert "The agent was last seen 60m ago" in words(client.get("/").text)
    with opened(fleet, clock=lambda: 1_000_000.0 + 60) as client:
        assert "last seen" not in words(client.get("/").text)


class Away(LocalRepository):
    """Can be away."""

    away = False

    def fetch(self) -> dict[str, str]:
        if Away.away:
            raise RepositoryError("Unreachable", "git.example.com does not answer")
        return dict(super().fetch())


@pytest.fixture
def away(fleet: Fleet) -> Iterator[TestClient]:
    def open_it() -> Repository:
        return Away(fleet.root)

    with opened(fleet, repository=open_it) as client:
        yield client
    Away.away = False


def test_a_repository_that_is_away_leaves_what_was_read(fleet: Fleet, away: TestClient) -> None:
    fleet.write(machine("vm"))
    assert "vm" in words(away.get("/vms").text)
    Away.away = True
    look(away)
    said = words(away.get("/vms").text)
    assert "No news. git.example.com does not answer" in said
    assert "vm" in said
    Away.away = False
    look(away)
    assert "No news." not in words(away.get("/vms").text)


def test_a_repository_that_was_never_there_is_said(away: TestClient) -> None:
    Away.away = True
    answer = away.get("/")
    assert answer.status_code == 503
    assert "git.example.com does not answer" in words(answer.text)
    assert away.get("/readyz").status_code == 503
    assert away.get("/healthz").status_code == 200
    assert "gitvirt_status_readable 0.0" in away.get("/metrics").text
    assert data(away, "/vms")["message"] == "git.example.com does not answer"


def test_ages_are_of_the_time_of_asking(fleet: Fleet) -> None:
    fleet.write(machine("vm"))
    created = time.mktime(time.strptime(CREATED, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    for seconds, age in ((90, "90s"), (7200, "120m")):
        with opened(fleet, clock=lambda at=created + seconds: at) as client:  # type: ignore[misc]
            assert f">{age}</time>" in client.get("/vms").text


def test_the_same_page_is_sent_once(fleet: Fleet) -> None:
    fleet.write(machine("vm"))
    with opened(fleet, clock=lambda: 1_800_000_000.0) as client:
        for headers in (HTML, JSON):
            first = client.get("/vms", headers=headers)
            asked = {**headers, "If-None-Match": first.headers["etag"]}
            again = client.get("/vms", headers=asked)
            assert (again.status_code, again.content) == (304, b"")
        fleet.write(machine("vm", "Stopped"))
        look(client)
        assert client.get("/vms", headers=asked).status_code == 200
