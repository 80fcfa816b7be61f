"""Lists: search, order, namespaces, labels, phases, pages; all by the address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.fleets import CATALOGUE, Fleet, condition, machine, whole
from tests.web.sites import data, names, opened, words


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    fleet = Fleet(tmp_path_factory.mktemp("lists") / "fleet.git")
    fleet.agent()
    drift = condition("DriftDetected", "True", "memory was changed by hand.")
    fleet.write(
        machine("web-9", labels={"app": "web"}, status={"ipAddress": "10.0.0.9"}),
        machine("web-10", labels={"app": "web", "tier": "test"}, conditions=(drift,)),
        machine("web-2", "Stopped", labels={"app": "web"}, namespace="prod"),
        machine("db-1", labels={"app": "db"}, namespace="prod", created="2025-01-01T00:00:00Z"),
        *(machine(f"many-{number}", namespace="many") for number in range(120)),
        whole("VirtualDisk", "root", {}, {"phase": "Ready", "capacity": "9Gi"}),
        whole("VirtualDisk", "data", {}, {"phase": "Ready", "capacity": "10Gi"}),
    )
    with opened(fleet) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=web", ["web-10", "web-9", "web-2"]),
        ("q=WEB+prod", ["web-2"]),
        ("q=10.0.0.9", ["web-9"]),
        ("q=tier%3Dtest", ["web-10"]),
        ("q=nothing-such", []),
        ("namespace=prod", ["db-1", "web-2"]),
        ("label=app%3Ddb", ["db-1"]),
        ("label=app+in+(web,db),!tier&namespace=default", ["web-9"]),
        ("phase=Stopped", ["web-2"]),
        ("state=act", ["web-10"]),
        ("q=web&sort=NAME", ["web-2", "web-9", "web-10"]),
        ("q=web&sort=-NAME", ["web-10", "web-9", "web-2"]),
        ("q=web&sort=STATE", ["web-10", "web-2", "web-9"]),
        ("q=web&sort=no-such-column", ["web-10", "web-9", "web-2"]),
        ("namespace=prod&sort=AGE", ["db-1", "web-2"]),
        ("namespace=prod&sort=-AGE", ["web-2", "db-1"]),
    ],
)
def test_a_list_is_asked_for_by_its_address(
    client: TestClient, query: str, found: list[str]
) -> None:
    assert names(client, f"/vms?{query}") == found
    page = client.get(f"/vms?{query}").text
    assert [name for name in found if f">{name}</a>" not in page] == []


def test_sizes_are_sorted_by_what_they_are_worth(client: TestClient) -> None:
    assert names(client, "/vds?sort=CAPACITY") == ["root", "data"]


def test_pages_hold_all_of_it_once(client: TestClient) -> None:
    first = data(client, "/vms?namespace=many&sort=NAME")
    assert (first["matching"], first["pages"], first["previous"]) == (120, 2, "")
    second = data(client, first["next"])
    found = [each["name"] for page in (first, second) for each in page["items"]]
    assert found == [f"many-{number}" for number in range(120)]
    assert second["next"] == ""
    assert data(client, second["previous"])["items"] == first["items"]


@pytest.mark.parametrize("page", ["0", "-1", "99999999999999999999", "x", "²", "3"])
def test_a_page_that_there_is_not_is_the_nearest(client: TestClient, page: str) -> None:
    assert data(client, f"/vms?namespace=many&page={page}")["page"] in (1, 2)


def test_a_page_is_as_long_as_asked_for_and_no_longer(client: TestClient) -> None:
    assert len(data(client, "/vms?size=5")["items"]) == 5
    assert len(data(client, "/vms?size=9999999")["items"]) == 124
    assert data(client, "/vms?size=9999999")["ask"]["size"] == 500


def test_what_is_no_selector_is_said(client: TestClient) -> None:
    answer = client.get("/vms?label=a%3Cb")
    assert answer.status_code == 400
    assert "is no label selector" in words(answer.text)


def test_the_columns_are_those_of_the_table(client: TestClient) -> None:
    plain = [column["name"] for column in data(client, "/vms")["columns"]]
    assert plain == ["NAMESPACE", "NAME", "PHASE", "NODE", "IPADDRESS", "AGE"]
    every = [column["name"] for column in data(client, "/vms?wide=1")["columns"]]
    assert every == ["NAMESPACE", "NAME", *(column.name for column in CATALOGUE.machine.columns)]


def test_a_kind_goes_by_all_of_its_words(client: TestClient) -> None:
    kind = CATALOGUE.kinds["VirtualDisk"]
    for word in (*kind.words, kind.name):
        assert len(names(client, f"/{word}")) == 2


def test_every_kind_has_a_list(client: TestClient) -> None:
    for kind in CATALOGUE.kinds.values():
        assert client.get(f"/{kind.plural}").status_code == 200


def test_what_is_no_kind_is_answered_with_one_that_may_be_meant(client: TestClient) -> None:
    answer = client.get("/virtualmashines")
    assert answer.status_code == 404
    assert "did you mean virtualmachines?" in words(answer.text)
