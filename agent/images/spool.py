"""The folder in which images are made ready. Every file of ours in it has one prefix and is
private to this user.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.images.errors import ImageError

PREFIX = "gitvirt-image-"
MIB = 1024 * 1024
SPACE_INTERVAL = 64 * MIB
"""Bytes that may be written between two looks at the free space."""


def new_file(spool: Path) -> Path:
    """Create an empty file, mode 0600, under a name that did not exist."""
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=spool)
    except OSError as error:
        raise _translated(error, spool) from error
    os.close(descriptor)
    return Path(name)


def check_space(spool: Path, wanted: int) -> None:
    """Raise ImageError unless `wanted` more bytes leave 5 % of the file system free."""
    system = os.statvfs(spool)
    free = system.f_bavail * system.f_frsize
    reserve = system.f_blocks * system.f_frsize // 20
    if free - wanted < reserve:
        raise ImageError(
            "SpoolFull",
            f"{spool} has {free // MIB} MiB free, of which {reserve // MIB} MiB stay reserved:"
            f" too little"
            f" for {max(wanted // MIB, 1)} MiB more; make room or move the data folder to a"
            f" larger disk",
            retry=True,
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Sink:
    """A new file in the spool, written from its start; it hashes what it gets and stays within
    `limit` bytes.

    As a context manager: the file is complete and closed when the block ends well, and gone
    when it does not.
    """

    def __init__(
        self,
        spool: Path,
        limit: int,
        algorithms: Iterable[str] = ("sha256",),
        path: Path | None = None,
        most: int = 0,
    ) -> None:
        """With a path it goes on with that file, of which it takes at most so many bytes."""
        self.algorithms = frozenset(algorithms)
        self.hashes = {name: new_hash(name) for name in self.algorithms}
        self.limit = limit
        self.size = 0
        self.spool = spool
        self.path = path or new_file(spool)
        self._file = self.path.open("r+b", buffering=0)
        self._unchecked = 0
        if path is not None:
            self._go_on(most)

    def _go_on(self, most: int) -> None:
        self._file.truncate(min(self.path.stat().st_size, most))
        while chunk := self._file.read(MIB):
            self.size += len(chunk)
            for digest in self.hashes.values():
                digest.update(chunk)

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        check_limit(self.size, self.limit)
        for digest in self.hashes.values():
            digest.update(chunk)
        try:
            # Zeros become holes, so that an image that is mostly empty takes no space here.
            if chunk.count(0) == len(chunk):
                self._file.seek(len(chunk), os.SEEK_CUR)
                return
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _translated(error, self.spool) from error
        self._unchecked += len(chunk)
        if self._unchecked >= SPACE_INTERVAL:
            self._unchecked = 0
            check_space(self.spool, 0)

    def restart(self) -> None:
        """Forget everything that was written."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.hashes = {name: new_hash(name) for name in self.algorithms}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._file.truncate(self.size)
        finally:
            self.close()
            if error is not None:
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()


def check_limit(size: int, limit: int) -> None:
    if size > limit:
        raise ImageError(
            "ImageTooLarge",
            f"the image has more than {limit} bytes, which is the limit here; use a smaller one"
            f" or raise the limit",
            retry=False,
        )


HASH_NAMES = {
    "md5": ("md5",),
    "sha1": ("sha1",),
    "sha256": ("sha256",),
    "sha512": ("sha512",),
    "streebog256": ("streebog256", "md_gost12_256"),
    "streebog512": ("streebog512", "md_gost12_512"),
}
"""What manifests call a checksum -> the names that OpenSSL builds know it by."""


def new_hash(name: str) -> hashlib._Hash:
    """Start a hash by the manifest's name for it; ImageError if this Python's OpenSSL does not
    have it.
    """
    for known in HASH_NAMES.get(name, ()):
        try:
            return hashlib.new(known, usedforsecurity=False)
        except ValueError:
            continue
    raise ImageError(
        "ChecksumNotSupported",
        f"the checksum {name} is not supported here; give sha256 or sha512 instead",
        retry=False,
    )


def _translated(error: OSError, spool: Path) -> ImageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ImageError("SpoolFull", f"{spool} is full; make room there", retry=True)
    return ImageError("SpoolFailed", f"cannot write in {spool}: {error.strerror}", retry=True)
