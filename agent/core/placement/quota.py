"""What the machines of a namespace may take together, in Kubernetes' words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.core.model import Key
from agent.core.placement.tenants import Tenant
from agent.core.quantity import format_bytes, format_milli

MACHINES = "count/virtualmachines.virtualization.deckhouse.io"
COUNTED: Mapping[str, str] = {
    "cpu": "cpu",
    "requests.cpu": "cpu",
    "limits.cpu": "cpu",
    "memory": "memory",
    "requests.memory": "memory",
    "limits.memory": "memory",
    "pods": "count",
    MACHINES: "count",
}
"""What can be bounded, and in which units."""


@dataclass(frozen=True)
class Quota:
    key: Key
    hard: tuple[tuple[str, int], ...]
    """Thousandths of a core, bytes, or numbers."""


def asked(tenant: Tenant) -> dict[str, int]:
    """What a machine takes that is on."""
    return {
        "cpu": tenant.requested,
        "requests.cpu": tenant.requested,
        "limits.cpu": tenant.cores * 1000,
        "memory": tenant.memory,
        "requests.memory": tenant.memory,
        "limits.memory": tenant.memory,
        "pods": 1,
    }


def taken(tenants: Iterable[Tenant]) -> Counter[str]:
    """What machines of one namespace take together."""
    total: Counter[str] = Counter()
    for tenant in tenants:
        total[MACHINES] += 1
        if tenant.on:
            total.update(asked(tenant))
    return total


def exceeded(quota: Quota, tenant: Tenant, others: Iterable[Tenant]) -> str:
    """Why a machine may not be on beside the others of its namespace; empty if it may."""
    beside = list(others)
    used, wanted = taken(beside), asked(tenant)
    used[MACHINES] = sum(each.rank[1:] < tenant.rank[1:] for each in beside)
    wanted[MACHINES] = 1
    over = [name for name, most in quota.hard if used[name] + wanted[name] > most]
    if not over:
        return ""
    hard = dict(quota.hard)
    parts = (
        ("requested", ((name, wanted[name]) for name in over)),
        ("used", ((name, used[name]) for name in over)),
        ("limited", ((name, hard[name]) for name in over)),
    )
    told = (f"{word}: {','.join(_amounts(amounts))}" for word, amounts in parts)
    return f"exceeded quota: {quota.key.name}, {', '.join(told)}"


def _amounts(amounts: Iterable[tuple[str, int]]) -> Iterator[str]:
    return (f"{name}={shown(name, amount)}" for name, amount in amounts)


def shown(name: str, amount: int) -> str:
    """An amount as Kubernetes prints it."""
    match COUNTED[name]:
        case "cpu":
            return format_milli(amount)
        case "memory":
            return format_bytes(amount)
    return str(amount)
