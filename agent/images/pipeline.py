"""From an address to a file that can be stored: fetch, unpack, inspect, convert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.core.image_sources import ContainerSource, HttpSource
from agent.images.convert import CONVERTED, to_qcow2
from agent.images.download import PATIENCE, Downloaded, Patience, Progress, download, verify
from agent.images.errors import CancelledError, ImageError
from agent.images.inspect import ImageFile, inspect
from agent.images.registry import pull
from agent.images.request import Reach
from agent.images.spool import Sink, check_limit, check_space, new_file, sha256_of
from agent.images.unpack import unpack

__all__ = ["ImageError", "Prepared", "Reach", "fetch", "receive"]


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
    bring: Callable[..., Downloaded] = (
        partial(download, source) if isinstance(source, HttpSource) else partial(pull, source)
    )
    downloaded = bring(
        spool,
        progress=progress,
        cancelled=cancelled,
        limit=limit,
        reach=reach,
        trouble=trouble,
        patience=patience,
        ending=ending,
    )
    return _made_ready(downloaded, spool, cancelled, limit)


def _made_ready(
    fetched: Downloaded, spool: Path, cancelled: Callable[[], bool], limit: int
) -> Prepared:
    """Takes the file over, and leaves none but the result's."""
    made: list[Path] = [fetched.path]
    kept: Path | None = None
    try:
        path, digest = fetched.path, fetched.digest
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
    return Prepared(path, image.format, *sizes, digest, fetched.resolved)


def receive(
    name: str,
    hand_over: Callable[[Callable[[bytes], None]], object],
    spool: Path,
    *,
    size: int,
    digest: str,
    checksums: Mapping[str, str],
    progress: Progress,
    cancelled: Callable[[], bool],
    limit: int,
) -> Prepared:
    """The same for a file that somebody hands over, piece by piece: of `size` bytes, with the
    SHA-256 `digest`, and with the `checksums` of a manifest.
    """
    check_limit(size, limit)
    check_space(spool, size)
    expected = {algorithm.lower(): value.lower() for algorithm, value in checksums.items()}
    with Sink(spool, limit, {*expected, "sha256"}) as sink:

        def take(piece: bytes) -> None:
            if cancelled():
                raise CancelledError
            sink.write(piece)
            progress(sink.size, size)

        hand_over(take)
        found = sink.hashes["sha256"].hexdigest()
        if (sink.size, found) != (size, digest):
            what = f"{sink.size} bytes with the SHA-256 {found}"
            message = f"{name} is damaged: it has {what}, and {size} bytes with {digest} were sent"
            raise ImageError("ChecksumMismatch", message, retry=False)
        verify(name, sink, expected)
    return _made_ready(Downloaded(sink.path, sink.size, digest), spool, cancelled, limit)


def _converted(
    path: Path, image: ImageFile, target: Path, cancelled: Callable[[], bool], limit: int
) -> tuple[Path, ImageFile]:
    to_qcow2(path, image.format, target, cancelled=cancelled, limit=limit)
    path.unlink()
    return target, inspect(target, cancelled=cancelled)
