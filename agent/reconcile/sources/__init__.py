"""What brings image data, one module a sort of source (`core.image_sources`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from agent.core.image_sources import (
    ContainerSource,
    HttpSource,
    ImageSource,
    UploadSource,
    VolumeSource,
)
from agent.reconcile.sources import http, upload, volume
from agent.reconcile.sources.errand import Errand
from agent.reconcile.verbs.site import Image

__all__ = ["BRINGS", "Errand", "brought"]

BRINGS: Mapping[type[ImageSource], Callable[[Any, Errand], AbstractContextManager[Image]]] = {
    HttpSource: http.brought,
    ContainerSource: http.brought,
    UploadSource: upload.brought,
    VolumeSource: volume.brought,
}


def brought(source: ImageSource, errand: Errand) -> AbstractContextManager[Image]:
    """Have the data, checked and ready to be stored as it is. May take hours; raises ImageError or
    HostError.
    """
    return BRINGS[type(source)](source, errand)
