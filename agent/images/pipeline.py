"""From an address to a file that can be stored: fetch, unpack, inspect, convert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.core.image_sources import ContainerSource, HttpSource
from agent.images.convert import CONVERTED, to_qcow2
from agent.images.download import PATIENCE, Downloaded, Patience, Progress, download
from agent.images.errors import ImageError
from agent.images.inspect import ImageFile, inspect
from agent.images.registry import pull
from agent.images.request import Reach
from agent.images.spool import new_file, sha256_of
from agent.images.unpack import unpack

__all__ = ["ImageError", "Prepared", "Reach", "fetch"]


@dataclass(frozen=True)
class Prepared:
    """A file that is ready to be stored as it is; the caller owns and removes it.

    `format` is qcow2, raw or iso; `virtual_size` the bytes that a guest sees, `stored_size` the
    bytes of the file; `digest` is the SHA-256 of the file, in hex.
    """

    path: Path
    format: str
    virtual_size: int
    stored_size: int
    digest: str
    resolved: str = ""
    """The reference that means just this container image, where it came from one."""


def fetch(
    source: HttpSource | ContainerSource,
    spool: Path,
    progress: Progress,
    cancelled: Callable[[], bool],
    limit: int,
    *,
    reach: Reach,
    trouble: Callable[[str], None] = lambda what: None,
    patience: Patience = PATIENCE,
    ending: Callable[[], bool] = lambda: False,
) -> Prepared:
    """Bring an image into `spool`. No file, on the way or at the end, has more than `limit` bytes.

    `progress` counts the bytes of the download, `trouble` hears of tries that failed. Raises
    ImageError, and whatever happens leaves no file but the result's; while the program is `ending`
    also a part that the next one can go on with.
    """
    made: list[Path] = []
    kept: Path | None = None
    try:
        bring: Callable[..., Downloaded] = (
            partial(download, source, ending=ending)
            if isinstance(source, HttpSource)
            else partial(pull, source)
        )
        downloaded = bring(
            spool,
            progress=progress,
            cancelled=cancelled,
            limit=limit,
            reach=reach,
            trouble=trouble,
            patience=patience,
        )
        made.append(downloaded.path)
        path, digest = downloaded.path, downloaded.digest
        unpacked = unpack(path, spool, cancelled=cancelled, limit=limit)
        if unpacked is not None:
            made.append(unpacked.path)
            path.unlink()
            path, digest = unpacked.path, unpacked.digest
        image = inspect(path, cancelled=cancelled)
        if image.format in CONVERTED:
            made.append(new_file(spool))
            path, image = _converted(path, image, made[-1], cancelled, limit)
            digest = sha256_of(path)
        kept = path
    finally:
        for leftover in made:
            if leftover != kept:
                leftover.unlink(missing_ok=True)
    sizes = image.virtual_size, image.stored_size
    return Prepared(path, image.format, *sizes, digest, downloaded.resolved)


def _converted(
    path: Path, image: ImageFile, target: Path, cancelled: Callable[[], bool], limit: int
) -> tuple[Path, ImageFile]:
    to_qcow2(path, image.format, target, cancelled=cancelled, limit=limit)
    path.unlink()
    return target, inspect(target, cancelled=cancelled)
