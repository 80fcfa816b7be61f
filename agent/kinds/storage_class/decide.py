"""Decide about one class: which pool it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.facts import Decision, View
from agent.core.identity import POOL
from agent.core.known import POOLS
from agent.core.model import Condition, Manifest, Object
from agent.kinds.storage_class.spec import storage_class_spec

NO_POOL = (
    "parameters.pool names {}, which the agent's setting pools does not have ({}): add it to the "
    "settings, or name another one."
)


@dataclass(frozen=True)
class ClassData:
    """What disks have to know of their class."""

    pool: str
    """libvirt's name for its storage pool; empty where the settings have none of that name."""
    problem: str = ""
    """What is wrong with it, in a sentence."""
    waits: bool = False
    """True if a disk is made when the first machine refers to it, and not before."""
    grows: bool = True
    """True if disks may become larger."""


def pools(manifest: Manifest) -> Iterator[str]:
    yield storage_class_spec(manifest.content).get("parameters", {}).get("pool", POOL)


def decide(its_class: Object, view: View) -> Decision:
    if its_class.deleted:
        return Decision(status={}, gone=True)
    spec = storage_class_spec(its_class.manifest.content)
    name = spec.get("parameters", {}).get("pool", POOL)
    known = view.read(POOLS, None)
    pool = name if known is None else known.get(name, "")
    problem = "" if pool else NO_POOL.format(name, ", ".join(sorted(known or ())))
    export = ClassData(
        pool,
        problem,
        waits=spec["volumeBindingMode"] == "WaitForFirstConsumer",
        grows=bool(spec.get("allowVolumeExpansion")),
    )
    if not problem:
        return Decision(status={}, export=export)
    condition = Condition("Ready", "False", "StoragePoolNotFound", problem)
    return Decision(status={"conditions": [condition]}, export=export, ok=False)
