"""Rules about one Node that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.kinds.content import items, repeated, text


def taints(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    named = (
        (("spec", "taints", index), (text(taint, "key"), text(taint, "effect")))
        for index, taint in enumerate(items(content, "spec", "taints"))
    )
    for path, _ in repeated(named):
        yield path, "has the key and the effect of another taint: keep one of them"


CHECKS: tuple[Check, ...] = (taints,)
