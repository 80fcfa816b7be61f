"""Figures for Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from agent import measures
from agent.core.parsing import parse
from agent.web.metrics import MOST_NAMES
from tests.fleets import CREATED_AT, Fleet, condition, machine, whole
from tests.rig import Rig, disk
from tests.rig import machine as manifest
from tests.web.sites import look, opened

MONITORING = Path(__file__).parents[2] / "examples" / "monitoring"
NAME = re.compile(r"\bgitvirt_[a-z_]+")
CHANGE = {"path": "cpu.cores", "operation": "replace", "currentValue": 1, "desiredValue": 2}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path / "fleet.git")
    fleet.agent()
    return fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[TestClient]:
    with opened(fleet) as client:
        yield client


def figures(client: TestClient) -> dict[str, float]:
    """Samples by name and labels, as `name{label}`."""
    text = client.get("/metrics").text
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_fleet_is_counted(fleet: Fleet, client: TestClient) -> None:
    awaits = condition("AwaitingRestartToApplyConfiguration", "True", "Restart it.")
    drift = condition("DriftDetected", "True", "changed by hand")
    sizes = {"capacity": {"memory": "4Gi"}, "allocatable": {"memory": "3Gi"}}
    fleet.beat(CREATED_AT)
    fleet.write(
        machine("a", conditions=(awaits,), status={"restartAwaitingChanges": [CHANGE, CHANGE]}),
        machine("b", "Stopped", conditions=(drift,), namespace="prod"),
        whole("VirtualMachineOperation", "move", {"type": "Evict"}, {"phase": "InProgress"}),
        whole("VirtualMachineOperation", "done", {"type": "Evict"}, {"phase": "Completed"}),
        whole("Node", "host-a", {}, {"phase": "Ready", **sizes, "committed": {"memory": "1Gi"}}),
        files={"problems.yaml": [{"file": "a.yaml", "line": 1, "message": "must not"}]},
    )
    found = figures(client)
    assert (
        found.items()
        >= {
            "gitvirt_virtual_machines{default,Running}": 1.0,
            "gitvirt_virtual_machines{prod,Stopped}": 1.0,
            "gitvirt_restart_awaiting{}": 1.0,
            "gitvirt_restart_awaiting_changes{}": 2.0,
            "gitvirt_restart_awaiting_since_timestamp_seconds{}": CREATED_AT,
            "gitvirt_drifted_objects{}": 1.0,
            "gitvirt_operations_under_way{}": 1.0,
            "gitvirt_problems{}": 1.0,
            "gitvirt_node_ready{host-a}": 1.0,
            "gitvirt_node_memory_committed_bytes{host-a}": float(1 << 30),
            "gitvirt_node_memory_allocatable_bytes{host-a}": float(3 << 30),
            "gitvirt_agent_last_seen_timestamp_seconds{}": CREATED_AT,
            "gitvirt_revision_applied{}": 1.0,
            "gitvirt_status_readable{}": 1.0,
        }.items()
    )


def test_who_makes_namespaces_makes_no_figures_without_end(
    fleet: Fleet, client: TestClient
) -> None:
    fleet.write(*(machine("vm", namespace=f"n{number}") for number in range(MOST_NAMES + 5)))
    found = figures(client)
    assert sum(name.startswith("gitvirt_virtual_machines{") for name in found) == MOST_NAMES + 1
    assert found["gitvirt_virtual_machines{(others),Running}"] == 5


def test_an_agent_measures_its_passes_and_git(tmp_path: Path, client: TestClient) -> None:
    before = measures.PASSES.read().get("", measures.Taken((), 0.0))
    rig = Rig(tmp_path)
    rig.push({"vms.yaml": [disk(), manifest()]})
    rig.settle()
    after = measures.PASSES.read()[""]
    assert sum(after.counts) > sum(before.counts)
    assert measures.LEADING.value is True
    look(client)
    found = figures(client)
    assert found["gitvirt_pass_duration_seconds_count{}"] >= sum(after.counts)
    assert found["gitvirt_pass_duration_seconds_bucket{+Inf}"] >= sum(after.counts)
    for operation in ("fetch", "push"):
        assert found[f"gitvirt_git_duration_seconds_count{{{operation}}}"] > 0
    assert found["gitvirt_leading{}"] == 1.0
    assert "gitvirt_migrated_bytes_total{}" in found


def test_durations_are_counted_by_their_bounds() -> None:
    durations = measures.Durations()
    for seconds in (0.0004, 0.0005, 0.04, 99.0):
        durations.add("x", seconds)
    with pytest.raises(KeyError), durations.taking("y"):
        raise KeyError
    known = durations.read()
    assert known["x"].counts == (2, 0, 0, 1, 0, 0, 0, 0, 1)
    assert known["x"].total == pytest.approx(99.0409)
    assert sum(known["y"].counts) == 1


def test_names_are_as_prometheus_wants_them(fleet: Fleet, client: TestClient) -> None:
    fleet.write(machine("vm"))
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    for family in families:
        assert family.documentation.endswith(".")
        assert re.fullmatch(r"gitvirt(_[a-z]+)+", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert not re.search("milli|micro|minutes|_kb|_mb", family.name)
        assert ("duration" in family.name) == (family.type == "histogram")
    assert len(families) == len({family.name for family in families})


def test_rules_and_the_dashboard_ask_for_figures_that_there_are(
    fleet: Fleet, client: TestClient, tmp_path: Path
) -> None:
    waits = condition("AwaitingRestartToApplyConfiguration", "True", "Restart it.")
    node = {"allocatable": {"memory": "3Gi"}, "committed": {"memory": "1Gi"}}
    fleet.beat(CREATED_AT)
    fleet.write(
        machine("vm", conditions=(waits,), status={"restartAwaitingChanges": [CHANGE]}),
        whole("Node", "host-a", {}, {"phase": "Ready", **node}),
    )
    rig = Rig(tmp_path / "rig")
    rig.push({"vms.yaml": [disk()]})
    rig.settle()
    measures.LIBVIRT.add("read", 0.001)
    known = {name.partition("{")[0] for name in figures(client)}
    rules = (MONITORING / "alerts.rules").read_text(encoding="utf-8")
    (document,) = parse(rules.encode()).documents
    expressions = [each["expr"] for group in document.value["groups"] for each in group["rules"]]
    panels = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for expression in expressions for name in NAME.findall(expression)}
    assert asked - known == set()
    assert len(asked) > 15
