"""What the world gets in place of a network, and what is worked out only once in a run of the test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from agent.core import ledger
from agent.core.image_sources import HttpSource
from agent.core.schema import Catalogue
from agent.images.errors import ImageError
from agent.images.pipeline import Prepared
from agent.reconcile import status_branch
from agent.reconcile.sources import http
from tests import rig

IMAGES = {
    "http://images.test/base.qcow2": ("qcow2", 1 << 30, b"an installed system"),
    "http://images.test/other.qcow2": ("qcow2", 1 << 30, b"another system"),
    "http://images.test/cd.iso": ("iso", 1 << 20, b"an installation medium"),
}
"""What is behind each address: format, bytes that a guest sees, content."""


def digest(url: str) -> str:
    return hashlib.sha256(IMAGES[url][2]).hexdigest()


def fetch(source: HttpSource, spool: Path, *_rest: object, **_more: object) -> Prepared:
    """In place of a download."""
    if source.url not in IMAGES:
        raise ImageError("NotFound", f"{source.url} answered 404", retry=False)
    form, size, content = IMAGES[source.url]
    path = spool / digest(source.url)
    path.write_bytes(content)
    return Prepared(path, form, size, len(content), digest(source.url))


@lru_cache(maxsize=8192)
def _parsed(data: bytes) -> str:
    return json.dumps(ledger.load(data))


def prepare(patch: Callable[[object, str, object], None]) -> None:
    """No network, and what is the same every time is worked out once: that is most of the test's time."""
    catalogue = Catalogue.load()
    patch(http, "fetch", fetch)
    patch(Catalogue, "load", lambda: catalogue)
    for module in (status_branch, rig):
        patch(module, "load", lambda data: json.loads(_parsed(data)))
