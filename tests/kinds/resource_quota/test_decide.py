"""What a quota bounds, and what is said of it."""

from __future__ import annotations

from typing import Any

from agent.core.known import TAKEN, Fact
from agent.core.model import Key
from agent.core.placement.quota import MACHINES, Quota, exceeded
from agent.core.placement.tenants import Tenant
from agent.kinds.resource_quota.decide import decide
from tests.kinds.deciding import decided, made, said

GIB = 1 << 30
KEY = Key("ResourceQuota", "default", "small")


def quota(**hard: Any) -> Any:
    return made(KEY, {"hard": hard})


def test_bounds_are_read_in_the_units_that_are_counted_in() -> None:
    hard = {"requests.cpu": "1500m", "memory": "16Gi", MACHINES: 3, "services": 5}
    decision = decided(decide, made(KEY, {"hard": hard}), {})
    assert decision.quota == Quota(
        KEY, ((MACHINES, 3), ("memory", 16 * GIB), ("requests.cpu", 1500))
    )
    assert said(decision)["hard"] == {MACHINES: "3", "memory": "16Gi", "requests.cpu": "1500m"}
    assert said(decision)["used"] == {MACHINES: "0", "memory": "0", "requests.cpu": "0"}
    assert decided(decide, made(KEY, {}), {}).quota == Quota(KEY, ())


def test_what_is_taken_is_told() -> None:
    facts: dict[Fact, Any] = {(TAKEN, "default"): (("memory", 3 * GIB), ("cpu", 500))}
    assert said(decided(decide, quota(memory="4Gi", cpu=1), facts))["used"] == {
        "cpu": "500m",
        "memory": "3Gi",
    }
    assert decided(decide, made(KEY, {}, deleted="1970-01-01T00:00:00Z"), facts).gone


def tenant(name: str, memory: int = 1, *, on: bool = True, created: str = "1") -> Tenant:
    key = Key("VirtualMachine", "default", name)
    return Tenant(key, {}, memory * GIB, 500, 2, created=created, on=on)


def test_who_would_take_more_is_told_what_it_asks_and_what_there_is() -> None:
    bounds = Quota(KEY, (("memory", 4 * GIB), ("requests.cpu", 1000), ("limits.cpu", 4000)))
    one, off = tenant("one", 2), tenant("off", 9, on=False)
    assert exceeded(bounds, tenant("x", 2), [one, off]) == ""
    assert exceeded(bounds, tenant("x", 3), [one, off]) == (
        "exceeded quota: small, requested: memory=3Gi, used: memory=2Gi, limited: memory=4Gi"
    )
    assert exceeded(bounds, tenant("x"), [one, tenant("two")]) == (
        "exceeded quota: small, requested: requests.cpu=500m,limits.cpu=2, "
        "used: requests.cpu=1,limits.cpu=4, limited: requests.cpu=1,limits.cpu=4"
    )


def test_of_too_many_machines_the_youngest_do_not_start() -> None:
    bounds = Quota(KEY, ((MACHINES, 2), ("pods", 9)))
    old, young = tenant("old", on=False), tenant("young", created="3")
    assert exceeded(bounds, tenant("x", created="2"), [old, young]) == ""
    late = tenant("x", created="4")
    assert f"requested: {MACHINES}=1, used: {MACHINES}=2" in exceeded(bounds, late, [old, young])
