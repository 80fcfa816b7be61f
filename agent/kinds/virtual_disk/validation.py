"""Rules about one VirtualDisk that its schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.documents import Path
from agent.core.manifests import Check
from agent.core.model import Json
from agent.core.quantity import parse
from agent.kinds.content import at, mapping
from agent.kinds.virtual_image import CHECKS as OF_SOURCES

_SIZE = ("spec", "persistentVolumeClaim", "size")


def size(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    wanted = at(content, *_SIZE)
    if wanted is None:
        if "dataSource" not in mapping(content, "spec"):
            yield _SIZE, "is required for a disk without dataSource"
        return
    try:
        number = parse(wanted)
    except ValueError:  # which the schema tells
        return
    if number <= 0:
        yield _SIZE, "must be more than 0, such as 10Gi"


CHECKS: tuple[Check, ...] = (size, *OF_SOURCES)
