"""Rules about one VirtualMachineOperation that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.kinds.content import items, mapping, text


def clone_names(field: str) -> Check:
    """A clone beside its original needs other names; `field` of the spec says how they are made."""

    def check(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
        clone = mapping(content, "spec", field)
        affixes = ("namePrefix", "nameSuffix")
        named = any(text(clone, "customization", affix) for affix in affixes)
        if clone and not named and not items(clone, "nameReplacement"):
            ways = "customization.namePrefix, customization.nameSuffix or nameReplacement"
            yield ("spec", field), f"must say how copies are named: set {ways}"

    return check


CHECKS: tuple[Check, ...] = (clone_names("clone"),)
