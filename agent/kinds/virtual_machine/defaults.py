"""Defaults of a VM that come from elsewhere: filled in once, at acceptance, and kept until the
manifest says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.core.model import Json, Key, Manifest
from agent.kinds.virtual_machine.resources import FULL
from agent.kinds.virtual_machine_class.sizing import default_core_fraction

KIND = "VirtualMachineClass"
IS_DEFAULT = "virtualmachineclass.virtualization.deckhouse.io/is-default-class"


def complete(
    manifest: Manifest, earlier: Mapping[str, Json], manifests: Mapping[Key, Manifest]
) -> Manifest:
    """`earlier` is the spec as it was last accepted, empty for a new VM."""
    spec = dict(manifest.spec)
    name = spec.get("virtualMachineClassName") or earlier.get("virtualMachineClassName")
    spec["virtualMachineClassName"] = name or _default_class(manifests)
    cpu = spec["cpu"]
    if not cpu.get("coreFraction"):
        kept = earlier.get("cpu", {}).get("coreFraction")
        found = manifests.get(Key(KIND, "", spec["virtualMachineClassName"]))
        policies = found.spec.get("sizingPolicies", ()) if found else ()
        fraction = kept or default_core_fraction(policies, cpu["cores"]) or FULL
        spec["cpu"] = {**cpu, "coreFraction": fraction}
    return replace(manifest, content={**manifest.content, "spec": spec})


def _default_class(manifests: Mapping[Key, Manifest]) -> str:
    """The class that is marked as the default one; a name that exists nowhere if there is none."""
    marked = sorted(
        key.name
        for key, each in manifests.items()
        if key.kind == KIND and each.annotations.get(IS_DEFAULT) == "true"
    )
    return marked[0] if marked else "(none)"
