"""Compressed images: recognised by content, never by name, and unpacked as a stream."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.images.errors import CancelledError, ImageError
from agent.images.spool import MIB, Sink

CHUNK = 64 * 1024
XZ_MEMORY = 256 * MIB
"""Four times what the strongest preset of xz asks for when it unpacks."""

MAGIC = {
    b"\xfd7zXZ\x00": "xz",
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
}


@dataclass(frozen=True)
class Unpacked:
    """A new file in the spool that the caller owns. `digest` is its SHA-256 in hex."""

    path: Path
    size: int
    digest: str


def compression(head: bytes) -> str | None:
    """xz, gzip, zstd, bzip2, or None if the first bytes are of none of them."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


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
        readers: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {"xz": _xz, "gzip": _gzip}
        if kind not in readers:
            raise ImageError(
                "UnsupportedFormat",
                f"the image is compressed with {kind}, which is not supported; serve it as xz,"
                f" gzip or uncompressed",
                retry=False,
            )
        with Sink(spool, limit) as sink:
            try:
                for chunk in readers[kind](packed):
                    if cancelled():
                        raise CancelledError
                    sink.write(chunk)
            except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
                raise ImageError(
                    "NotAnImage",
                    f"the image is compressed with {kind} and cannot be unpacked ({error}): it is"
                    f" damaged or cut off",
                    retry=False,
                ) from error
    return Unpacked(sink.path, sink.size, sink.hashes["sha256"].hexdigest())


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
