"""Which nodes a selector means."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.model import Json
from agent.core.placement.labels import Labels, holds, requirements


def selects(selector: Mapping[str, Json], labels: Labels) -> bool:
    """True if all of `matchLabels` and `matchExpressions` hold; an empty selector selects all."""
    return holds(requirements(selector), labels)
