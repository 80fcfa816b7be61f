"""The classes that exist without a manifest; a manifest of that name replaces them."""

from __future__ import annotations

from agent.core.model import Key, Manifest
from agent.kinds.virtual_machine_class.spec import ClassSpec, SizingPolicy
from agent.kinds.virtual_machine_class.validation import KIND

_POLICIES: list[SizingPolicy] = [
    {"cores": {"min": 1, "max": 4}, "coreFractions": [5, 10, 20, 50, 100]},
    {"cores": {"min": 5, "max": 8}, "coreFractions": [20, 50, 100]},
    {"cores": {"min": 9, "max": 16}, "coreFractions": [50, 100]},
    {"cores": {"min": 17, "max": 1024}, "coreFractions": [100]},
]


def _class(name: str, spec: ClassSpec) -> Manifest:
    return Manifest(Key(KIND, "", name), {}, {}, {"spec": spec})


CLASSES: tuple[Manifest, ...] = (
    _class("host", {"cpu": {"type": "Host"}}),
    _class("generic", {"cpu": {"type": "Model", "model": "Nehalem"}, "sizingPolicies": _POLICIES}),
)
