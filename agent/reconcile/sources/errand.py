"""What whoever brings image data may need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.images.pipeline import Prepared
from agent.images.request import Reach
from agent.reconcile.sources.joint import Joint
from agent.reconcile.sources.told import Told
from agent.reconcile.verbs.site import Image, Site

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Errand:
    """One object's wish to have image data on a node."""

    site: Site
    """The node, and the others."""
    spool: Path
    """Where files lie on their way."""
    limit: int
    """Bytes that one image may have."""
    reach: Reach
    told: Told
    unwanted: Callable[[], bool]
    """True once it is to end early."""
    joint: Joint
    ending: Callable[[], bool] = lambda: False
    """True once all of the program ends."""


def as_image(prepared: Prepared) -> Image:
    """A file of the spool, as content."""
    return Image(
        prepared.stored_size,
        _chunks(prepared.path),
        prepared.digest,
        prepared.format,
        prepared.virtual_size,
        prepared.resolved,
    )


@contextmanager
def handed_over(prepared: Prepared) -> Iterator[Image]:
    """The same; the file is removed at the end."""
    try:
        yield as_image(prepared)
    finally:
        prepared.path.unlink(missing_ok=True)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
