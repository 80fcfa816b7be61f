from __future__ import annotations

import pytest

from agent.core import tables
from agent.core.status import seconds
from tests.fleets import CATALOGUE, CREATED_AT, condition, machine, whole

VM = CATALOGUE.kinds["VirtualMachine"]
WIDE = [
    *("NAME", "PHASE", "CORES", "COREFRACTION", "MEMORY", "NEED RESTART"),
    *("AGENT", "MIGRATABLE", "NODE", "IPADDRESS", "AGE"),
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("   ") if cell.strip()]


@pytest.mark.promise("S28", "S29")
def test_the_plain_table_of_machines() -> None:
    table = tables.table(VM, [machine()], now=CREATED_AT + 11 * 60)
    assert tables.text(table).splitlines() == [
        "NAME       PHASE     NODE     IPADDRESS     AGE",
        "linux-vm   Running   host-a   10.66.10.12   11m",
    ]


@pytest.mark.parametrize(("mark", "name"), [("true", "fast (default)"), ("false", "fast")])
def test_storage_classes_are_listed_as_kubectl_lists_them(mark: str, name: str) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": mark}
    shown = {
        "metadata": {
            "name": "fast",
            "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "provisioner": "gitvirt.io",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    kind = CATALOGUE.kinds["StorageClass"]
    created = seconds("2026-01-01T00:00:00Z")
    table = tables.table(kind, [shown], now=created + 60)
    assert dict(zip(table.headers, table.rows[0], strict=True)) == {
        "NAME": name,
        "PROVISIONER": "gitvirt.io",
        "RECLAIMPOLICY": "Delete",
        "VOLUMEBINDINGMODE": "WaitForFirstConsumer",
        "ALLOWVOLUMEEXPANSION": "false",
        "AGE": "60s",
    }
    typed = tables.table(kind, [shown], now=created, typed=True)
    assert typed.rows[0][0] == f"storageclass.storage.k8s.io/{name}"


@pytest.mark.promise("S64", "S65", "S66", "S68")
def test_the_wide_table_of_machines() -> None:
    vm = machine(spec={"cpu": {"cores": 6, "coreFraction": "10%"}, "memory": {"size": "8000Mi"}})
    age = 5 * 86400 + 21 * 3600
    table = tables.table(VM, [vm], now=CREATED_AT + age, wide=True)
    assert list(table.headers) == WIDE
    assert table.rows[0] == (
        *("linux-vm", "Running", "6", "10%", "8000Mi", "False"),
        *("True", "True", "host-a", "10.66.10.12", "5d21h"),
    )


@pytest.mark.promise("S67")
@pytest.mark.parametrize("migratable", ["True", "False"])
@pytest.mark.parametrize("agent", ["True", "False"])
def test_two_columns_show_whether_the_agent_answers_and_whether_it_can_migrate(
    agent: str, migratable: str
) -> None:
    vm = machine(conditions=(condition("AgentReady", agent), condition("Migratable", migratable)))
    table = tables.table(VM, [vm], now=CREATED_AT, wide=True)
    row = dict(zip(table.headers, table.rows[0], strict=True))
    assert (row["AGENT"], row["MIGRATABLE"]) == (agent, migratable)


@pytest.mark.promise("S150", "S151", "S152", "S153")
def test_while_a_restart_waits_the_table_shows_the_spec_and_says_so() -> None:
    vm = machine(
        spec={"cpu": {"cores": 2, "coreFraction": "100%"}},
        conditions=(
            condition("AgentReady"),
            condition("AwaitingRestartToApplyConfiguration", message="cpu.cores"),
            condition("Migratable"),
        ),
        status={"resources": {"cpu": {"cores": 1}}},
    )
    table = tables.table(VM, [vm], now=CREATED_AT, wide=True)
    assert list(table.headers) == WIDE
    row = dict(zip(table.headers, table.rows[0], strict=True))
    assert row["CORES"] == "2"
    assert row["COREFRACTION"] == "100%"
    assert row["MEMORY"] == "1Gi"
    assert row["NEED RESTART"] == "True"
    assert row["AGENT"] == row["MIGRATABLE"] == "True"


@pytest.mark.promise("S245")
def test_the_table_of_operations() -> None:
    kind = CATALOGUE.kinds["VirtualMachineOperation"]
    spec = {"type": "Restart", "virtualMachineName": "linux-vm"}
    operation = whole(kind.name, "linux-vm-x7k2p", spec, {"phase": "Completed"})
    table = tables.table(kind, [operation], now=CREATED_AT + 148 * 60)
    assert tables.text(table).splitlines() == [
        "NAME             PHASE       TYPE      VIRTUALMACHINE   AGE",
        "linux-vm-x7k2p   Completed   Restart   linux-vm         148m",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (187, "3m7s"),
        (316, "5m16s"),
        (600, "10m"),
        (79 * 60 + 59, "79m"),
        (148 * 60, "148m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 61, "3h1m"),
        (12 * 3600 + 1800, "12h"),
        (48 * 3600, "2d"),
        (5 * 86400 + 21 * 3600 + 5, "5d21h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (8 * 365 * 86400 + 86400, "8y"),
    ],
)
def test_ages_are_kubernetes_short_forms(seconds: int, text: str) -> None:
    table = tables.table(VM, [machine()], now=CREATED_AT + seconds)
    assert table.rows[0][-1] == text


def test_a_missing_value_is_an_empty_cell_and_columns_stay_in_line() -> None:
    table = tables.table(VM, [machine("a", "Pending"), machine("b")], now=CREATED_AT)
    head, first, second = tables.text(table).splitlines()
    assert cells(first) == ["a", "Pending", "0s"]
    for name in ("NODE", "IPADDRESS", "AGE"):
        assert second[head.index(name) - 3 : head.index(name)] == "   "
    assert first.index("0s") == second.index("0s") == head.index("AGE")


def test_the_namespace_stands_first_for_namespaced_kinds_only() -> None:
    table = tables.table(VM, [machine(namespace="prod")], now=None, namespaces=True)
    assert table.headers[:2] == ("NAMESPACE", "NAME")
    assert table.rows[0][:2] == ("prod", "linux-vm")
    classes = CATALOGUE.kinds["VirtualMachineClass"]
    assert tables.table(classes, [], now=None, namespaces=True).headers[0] == "NAME"


def test_without_a_clock_there_are_no_ages() -> None:
    assert "AGE" not in tables.table(VM, [machine()], now=None, wide=True).headers


def test_an_object_in_a_cell_is_compact_json_and_a_count_where_a_number_is_meant() -> None:
    secret = {**whole("Secret", "s"), "type": {"odd": [1, True]}, "data": {"a": "x", "b": "y"}}
    row = tables.table(CATALOGUE.kinds["Secret"], [secret], now=None).rows[0]
    assert row == ("s", '{"odd":[1,true]}', "2")


def test_what_would_steer_a_terminal_is_written_out() -> None:
    vm = machine(status={"nodeName": "a\x1b[31m\nb", "ipAddress": "\u202e1"})
    row = tables.table(VM, [vm], now=None).rows[0]
    assert row[2:] == ("a\\x1b[31m\\nb", "\\u202e1")


def test_a_time_that_is_none_is_unknown() -> None:
    for wrong in ("yesterday", 5):
        vm = machine()
        vm["metadata"]["creationTimestamp"] = wrong
        assert tables.table(VM, [vm], now=CREATED_AT).rows[0][-1] == "<unknown>"


def test_every_kind_has_columns_that_lead_somewhere_or_are_empty() -> None:
    for kind in CATALOGUE.kinds.values():
        table = tables.table(kind, [whole(kind.name, "x")], now=CREATED_AT, wide=True)
        assert len(table.headers) == len(table.rows[0]) == len(kind.columns) + 1
        assert table.headers[0] == "NAME"


def test_a_resource_is_named_with_its_group() -> None:
    assert tables.resource(VM) == "virtualmachine.virtualization.deckhouse.io"
    assert tables.resource(CATALOGUE.kinds["Secret"]) == "secret"
