"""Nodes and machines in few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.model import Key
from agent.core.placement.rules import PREFERRED, REQUIRED, Taint, rules
from agent.core.placement.tenants import Ask, Offer, Tenant

GIB = 1 << 30
HOST = "kubernetes.io/hostname"


def node(name: str, *taints: Taint, memory: int = 16, **kwargs: Any) -> Offer:
    labels = {HOST: name, **kwargs.pop("labels", {})}
    return Offer(name, labels, taints, memory=memory * GIB, **kwargs)


def vm(
    name: str,
    spec: Mapping[str, Any] = {},
    *,
    namespace: str = "default",
    labels: Mapping[str, str] = {},
    memory: int = 1,
    at: str = "",
    ask: Ask | None = None,
    **kwargs: Any,
) -> Tenant:
    return Tenant(
        key=Key("VirtualMachine", namespace, name),
        labels=labels,
        memory=memory * GIB,
        rules=rules(spec, labels, namespace),
        at=at,
        on=bool(at),
        ask=None if at else ask or Ask(),
        **kwargs,
    )


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def on_nodes(*terms: Mapping[str, Any]) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}}


def matching(*expressions: Mapping[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}


def term(labels: Mapping[str, str], topology: str = HOST, **more: Any) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": topology, **more}


def near(*terms: Mapping[str, Any]) -> dict[str, Any]:
    return {"affinity": {"virtualMachineAndPodAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: Mapping[str, Any]) -> dict[str, Any]:
    return {"affinity": {"virtualMachineAndPodAntiAffinity": {REQUIRED: list(terms)}}}


def rather(side: str, weight: int, wanted: Mapping[str, Any]) -> dict[str, Any]:
    weighted = {"weight": weight, "virtualMachineAndPodAffinityTerm": wanted}
    return {"affinity": {side: {PREFERRED: [weighted]}}}
