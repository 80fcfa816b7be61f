"""Defaults of a VM that come from elsewhere: filled in once, at acceptance, and kept until the
manifest says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from agent.core.model import Json, Key, Manifest
from agent.kinds.virtual_machine.spec import MAIN, machine_spec, numbered
from agent.kinds.virtual_machine_class import (
    FULL,
    KIND,
    class_spec,
    default_core_fraction,
    is_default,
)

CLASS: Final = "virtualMachineClassName"


def complete(
    manifest: Manifest, earlier: Mapping[str, Json], manifests: Mapping[Key, Manifest]
) -> Manifest:
    """`earlier` is the spec as it was last accepted, empty for a new VM. Without any class the VM
    has none, and takes nothing for good.
    """
    spec, written, before = dict(manifest.spec), machine_spec(manifest.spec), machine_spec(earlier)
    known = before.get(CLASS, "")
    name = written.get(CLASS) or known or _default_class(manifests)
    if name:
        spec[CLASS] = name
    cpu = written["cpu"]
    if not cpu.get("coreFraction"):
        kept = before["cpu"].get("coreFraction") if known else ""
        its_class = manifests.get(Key(KIND, "", name))
        policies = class_spec(its_class.spec).get("sizingPolicies", ()) if its_class else ()
        fraction = kept or default_core_fraction(policies, cpu["cores"]) or FULL
        spec["cpu"] = {**cpu, "coreFraction": fraction}
    named = written.get("networks", ())
    if any(network["type"] != MAIN for network in named):
        spec["networks"] = list(numbered(named, before.get("networks", ())))
    return replace(manifest, content={**manifest.content, "spec": spec})


def awaits_class(manifest: Manifest) -> bool:
    """True for a VM that a later class may complete, without a change of its own."""
    return manifest.key.kind == "VirtualMachine" and not machine_spec(manifest.spec).get(CLASS)


def _default_class(manifests: Mapping[Key, Manifest]) -> str:
    """The class that is marked as the default one; empty if there is none."""
    marked = sorted(key.name for key, manifest in manifests.items() if is_default(manifest))
    return marked[0] if marked else ""
