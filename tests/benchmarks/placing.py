"""What it costs to find a node for each machine of a large fleet, and for one more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agent.core.model import Key
from agent.core.placement.fleet import Fleet, place
from agent.core.placement.rules import PREFERRED, REQUIRED, rules
from agent.core.placement.tenants import Ask, Offer, Tenant, Verdict
from tests.benchmarks.figures import Figure, cpu, median, wall
from tests.rig import GIB

MACHINES, NODES, GROUPS = 10_000, 100, 400


def placing() -> Iterator[Figure]:
    """Each machine is kept apart from those of its group, near their zone, and rather on an SSD."""
    offers = [offer(number) for number in range(NODES)]
    tenants = [tenant(number) for number in range(MACHINES)]
    verdicts: Mapping[Key, Verdict] = {}

    def all_of_them() -> None:
        nonlocal verdicts
        verdicts = place(offers, tenants)

    told = f"{MACHINES} machines on {NODES} nodes with affinity"
    yield Figure(f"CPU of placing {told}", cpu(all_of_them), "s", 5.0)
    assert all(verdict.node for verdict in verdicts.values())
    fleet = Fleet()
    fleet.have(offers)
    for each in tenants:
        fleet.put(replace(each, at=verdicts[each.key].node, on=True, ask=None))
    more = tenant(MACHINES)
    yield Figure(
        "to place the first one more", wall(lambda: fleet.place(more, Ask())) * 1e3, "ms", 5
    )
    again = median(20, lambda: wall(lambda: fleet.place(more, Ask())))
    yield Figure("to place one more", again * 1e3, "ms", 5.0)


def offer(number: int) -> Offer:
    name = f"node-{number:03}"
    disk = "ssd" if number % 2 else "hdd"
    labels = {"kubernetes.io/hostname": name, "zone": f"{number % 5}", "disk": disk}
    return Offer(name, labels, memory=512 * GIB)


def tenant(number: int) -> Tenant:
    group = {"app": f"app-{number % GROUPS}"}
    neighbour: dict[str, Any] = {"labelSelector": {"matchLabels": group}}
    apart = {**neighbour, "topologyKey": "kubernetes.io/hostname"}
    near = {**neighbour, "topologyKey": "zone"}
    wanted = [{"key": "disk", "operator": "In", "values": ["ssd"]}]
    affinity = {
        "nodeAffinity": {
            PREFERRED: [{"weight": 5, "preference": {"matchExpressions": wanted}}],
        },
        "virtualMachineAndPodAffinity": {
            PREFERRED: [{"weight": 10, "virtualMachineAndPodAffinityTerm": near}],
        },
        "virtualMachineAndPodAntiAffinity": {REQUIRED: [apart]},
    }
    spec = {"affinity": affinity, "nodeSelector": {} if number % 3 else {"disk": "ssd"}}
    key = Key("VirtualMachine", "default", f"vm-{number:05}")
    return Tenant(key, group, 2 * GIB, rules=rules(spec, group, "default"), ask=Ask())
