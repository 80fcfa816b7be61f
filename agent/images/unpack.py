"""Compressed images: recognised by content, never by name, and unpacked as a stream."""

from __future__ import annotations

import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.images.errors import CancelledError, ImageError
from agent.images.spool import MIB, Sink

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 64 * 1024
ZSTD_WINDOW = 27
"""log2 of the bytes that it may look back over: 128 MiB, what every decoder has to manage."""
XZ_MEMORY = 256 * MIB
"""Four times what the strongest preset of xz asks for when it unpacks."""

MAGIC = {
    b"\xfd7zXZ\x00": "xz",
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
}


PEEK = 64 * 1024
"""Bytes of the content that tell what it is."""


@dataclass(frozen=True)
class Unpacked:
    """A new file in the spool that the caller owns. `digest` is its SHA-256 in hex."""

    path: Path
    size: int
    digest: str


def compression(head: bytes) -> str | None:
    """xz, gzip, zstd, bzip2, or None if the first bytes are of none of them."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


def compressed(path: Path) -> bool:
    with path.open("rb") as packed:
        return compression(packed.read(8)) is not None


def peek(path: Path) -> bytes:
    """The beginning of what a compressed file holds. ImageError if it cannot be unpacked."""
    head = b""
    with path.open("rb") as packed:
        kind = compression(packed.read(8)) or ""
        packed.seek(0)
        with intelligible("the image", kind):
            for chunk in chunks(packed, kind, "the image"):
                head += chunk
                if len(head) >= PEEK:
                    break
    return head[:PEEK]


def unpack(
    path: Path, spool: Path, *, cancelled: Callable[[], bool], limit: int
) -> Unpacked | None:
    """Unpack `path` into a new file of at most `limit` bytes; None if it is not compressed. One
    layer is taken off.
    """
    with path.open("rb") as packed:
        kind = compression(packed.read(8))
        if kind is None:
            return None
        packed.seek(0)
        with Sink(spool, limit) as sink, intelligible("the image", kind):
            for chunk in chunks(packed, kind, "the image"):
                if cancelled():
                    raise CancelledError
                sink.write(chunk)
    return Unpacked(sink.path, sink.size, sink.hashes["sha256"].hexdigest())


def chunks(packed: BinaryIO, kind: str, what: str) -> Iterator[bytes]:
    """The content of something compressed, a piece at a time. ImageError for what nobody here can
    unpack.
    """
    if kind not in _READERS:
        raise ImageError(
            "UnsupportedFormat",
            f"{what} is compressed with {kind}, which is not supported; serve it as xz, gzip, zstd"
            f" or uncompressed",
            retry=False,
        )
    return _READERS[kind](packed)


@contextmanager
def intelligible(what: str, kind: str) -> Iterator[None]:
    """Have the errors of decoders mean that the file is damaged."""
    try:
        yield
    except (lzma.LZMAError, zlib.error, zstd.ZstdError, gzip.BadGzipFile, EOFError) as error:
        raise ImageError(
            "NotAnImage",
            f"{what} is compressed with {kind} and cannot be unpacked ({error}): it is damaged or"
            f" cut off",
            retry=False,
        ) from error


def _gzip(packed: BinaryIO) -> Iterator[bytes]:
    with gzip.open(packed) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _xz(packed: BinaryIO) -> Iterator[bytes]:
    """Stream after stream, as `xz -d` does; the standard reader of files cannot bound its
    memory.
    """
    data = packed.read(CHUNK)
    while data:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not data:
                data = packed.read(CHUNK)
                if not data:
                    raise EOFError("the last stream has no end")
            chunk, data = decoder.decompress(data, CHUNK), b""
            if chunk:
                yield chunk
        # Zeros may stand between streams and after the last.
        data = decoder.unused_data.lstrip(b"\0")
        while not data:
            block = packed.read(CHUNK)
            if not block:
                return
            data = block.lstrip(b"\0")


def _zstd(packed: BinaryIO) -> Iterator[bytes]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW}
    with zstd.ZstdFile(packed, options=options) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


_READERS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "xz": _xz,
    "gzip": _gzip,
    "zstd": _zstd,
}
