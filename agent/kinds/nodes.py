"""Nodes as tables show them: one is there also without a manifest, and whether it can be reached
stands in agent.yaml, for it is the agent that reaches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from agent.core import ledger
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.nodes import own_labels, told
from agent.core.schema import Catalogue

KIND = "Node"
CORDONED = "SchedulingDisabled"


def shown(
    catalogue: Catalogue, manifests: Iterable[Entry], agent: Mapping[str, Any]
) -> list[Entry]:
    """Those of manifests, and those that the agent knows, by name."""
    entries = {entry.name: entry for entry in manifests}
    for known in told(agent):
        name = known["name"]
        entries[name] = _with_state(entries.get(name) or _bare(catalogue, name), known)
    return [entries[name] for name in sorted(entries)]


def _bare(catalogue: Catalogue, name: str) -> Entry:
    """A node without a manifest."""
    kind = catalogue.kinds[KIND]
    value = {"apiVersion": kind.api_versions[0], "kind": KIND, "metadata": {"name": name}}
    path = ledger.path_of(catalogue, Key(KIND, "", name))
    return Entry(kind, path, "", {**value, "spec": {}, "status": {}})


def _with_state(entry: Entry, known: Mapping[str, Any]) -> Entry:
    ready = known.get("ready") is True
    spec = entry.value.get("spec")
    cordoned = isinstance(spec, Mapping) and spec.get("unschedulable") is True
    words = ["Ready" if ready else "NotReady", *([CORDONED] if cordoned else [])]
    message = str(known.get("message") or "")
    state = "True" if ready else "False"
    condition = {"type": "Ready", "status": state, "reason": words[0], "message": message}
    said = entry.status.get("conditions", ())
    others = [each for each in said if each["type"] != "Ready" or each["status"] == state]
    told = any(each["type"] == "Ready" for each in others)  # with since when
    version = known.get("libvirt")
    info = {"libvirtVersion": str(version)} if version else {}
    memory = {"memory": str(known["memory"])} if known.get("memory") else {}
    status = {
        **entry.status,
        "phase": ",".join(words),
        "conditions": [*others, *([] if told else [condition])],
        **({"nodeInfo": found} if (found := {**info, **entry.status.get("nodeInfo", {})}) else {}),
        **({"capacity": size} if (size := {**memory, **entry.status.get("capacity", {})}) else {}),
    }
    # what is shown changes with the state
    blob = f"{entry.blob} {status['phase']} {message} {version}"
    metadata = entry.value["metadata"]
    labels = {**own_labels(entry.name), **(metadata.get("labels") or {})}
    value = {**entry.value, "metadata": {**metadata, "labels": labels}, "status": status}
    return replace(entry, blob=blob, value=value)
