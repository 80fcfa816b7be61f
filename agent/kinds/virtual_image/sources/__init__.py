"""Where image data comes from, one module a type of source: each says what it comes to for an
object now, and nothing else knows the types apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.core.facts import View
from agent.core.model import Object
from agent.kinds.virtual_image.sources import container_image, http, object_ref, upload
from agent.kinds.virtual_image.sources.coming import NOT_STARTED, Origin
from agent.kinds.virtual_image.sources.object_ref import source_uid

__all__ = ["NOT_STARTED", "Origin", "origin", "source_uid"]

_ORIGINS: Mapping[str, Callable[[Object, Any, View], Origin]] = {
    "HTTP": http.origin,
    "ContainerImage": container_image.origin,
    "ObjectRef": object_ref.origin,
    "Upload": upload.origin,
}
"""By the type; each is told the object and the part of its dataSource that is named after it."""
_PARTS = {
    "HTTP": "http",
    "ContainerImage": "containerImage",
    "ObjectRef": "objectRef",
    "Upload": "upload",
}


def origin(obj: Object, source: Mapping[str, Any], view: View) -> Origin:
    """`source` is a dataSource as accepted."""
    kind = source["type"]
    return _ORIGINS[kind](obj, source.get(_PARTS[kind], {}), view)
