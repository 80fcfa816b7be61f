"""Data that is on the hosts and that nobody can bring again, known by a mark beside it."""

from __future__ import annotations

from agent.core.facts import View
from agent.core.identity import POOL, KnownData, image_volume, known_data
from agent.core.known import VOLUME, VOLUMES_OF
from agent.core.model import Json, Object
from agent.kinds.local import away, nodes


def known_again(obj: Object, view: View) -> dict[str, Json] | None:
    """What is known of an object's whole data: None if there is none, or if nobody can tell which
    of several.
    """
    found = {said for node in nodes(view) if not away(view, node) for said in _on(node, obj, view)}
    if len(found) != 1:
        return None
    (said,) = found
    return {
        "digest": said.digest,
        "format": said.format,
        "storedBytes": said.stored,
        "unpackedBytes": said.unpacked,
    }


def _on(node: str, obj: Object, view: View) -> set[KnownData]:
    found: set[KnownData] = set()
    for name in view.read(VOLUMES_OF, (node, obj.uid)) or ():
        said = known_data(view.fleet, name)
        if said is None or said.uid != obj.uid:
            continue
        data = image_volume(view.fleet, said.digest, said.format)
        volume = view.read(VOLUME, (node, POOL, data))
        if volume is not None and volume.physical == said.stored:
            found.add(said)
    return found
