"""Whether the instance runs that a verb is meant for."""

from __future__ import annotations

from agent.core.domain_xml import parse
from agent.core.metadata import from_domain
from agent.reconcile.verbs.verb import Sight


def runs(sight: Sight, uuid: str, instance: str) -> bool:
    """True if just that instance runs: between decision and deed somebody may have started another
    one.
    """
    raw = sight.node.read_domain(uuid)
    if raw is None or not raw.active:
        return False
    metadata = from_domain(parse(raw.active_xml))
    return (metadata.instance if metadata else "") == instance
