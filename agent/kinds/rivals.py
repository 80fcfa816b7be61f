"""Manifests that hold by themselves and not beside each other. None of them counts, as of two for
one name, since Git does not say which one was first: the last good version of each stays in force.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.model import Desired
from agent.kinds.registry import RECORDS


def apart(desired: Desired) -> Desired:
    """The same without manifests that go against each other, which are problems."""
    against = dict(pair for record in RECORDS.values() for pair in record.rivals(desired))
    if not against:
        return desired
    return replace(
        desired,
        manifests={
            key: manifest for key, manifest in desired.manifests.items() if key not in against
        },
        paths={key: path for key, path in desired.paths.items() if key not in against},
        invalid=desired.invalid | against.keys(),
        problems=tuple(sorted((*desired.problems, *against.values()))),
    )
