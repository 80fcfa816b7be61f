"""The one file that a container image brings below /disk. Layers are read as streams: nothing is
laid out in a file system, no link is followed, and no path of theirs is ever used.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from agent.images.errors import CancelledError, ImageError
from agent.images.spool import MIB, Sink
from agent.images.unpack import CHUNK, Unpacked, chunks, compression, intelligible

FOLDER = "disk"
BLOCK = tarfile.BLOCKSIZE
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
LONGEST_NAME = MIB
"""Bytes of a header that is no block of its own."""
MARGIN = 16 * MIB
"""Bytes that layers may unpack to beside the image."""
_PLAIN = frozenset((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE))
_LINKS = frozenset((tarfile.LNKTYPE, tarfile.SYMTYPE))
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_WHAT = "a layer of the container image"


@dataclass
class Search:
    """Looks through layers, the uppermost first. What it has found by then is `found`, a file in
    the spool that the caller owns, also after an error.
    """

    spool: Path
    limit: int
    """Bytes of the image."""
    cancelled: Callable[[], bool]
    found: Unpacked | None = None
    _name: str = ""
    _hidden: set[str] = field(default_factory=set)
    """Names below /disk that a layer above has, or has taken away."""
    _over: bool = False
    """True if nothing of the layers below is seen any more."""
    _link: str = ""
    _taken: int = 0

    def look_through(self, path: Path) -> None:
        """One layer, as it was stored. Raises ImageError."""
        if self._over:
            return
        with path.open("rb") as packed:
            kind = compression(packed.read(8))
            packed.seek(0)
            if kind is None:
                self._read(_Stream(_plain(packed), self._take))
                return
            with intelligible(_WHAT, kind):
                self._read(_Stream(chunks(packed, kind, _WHAT), self._take))

    def result(self) -> Unpacked:
        """What was found. Raises ImageError if that is nothing."""
        if self.found is not None:
            return self.found
        found = f"; {self._link} there is a link" if self._link else ""
        raise ImageError(
            "NotAnImage",
            f"the container image has no file below /{FOLDER}{found}: put the image there, and"
            f" nothing else",
            retry=False,
        )

    def _take(self, size: int) -> None:
        if self.cancelled():
            raise CancelledError
        self._taken += size
        if self._taken > self.limit + MARGIN:
            raise ImageError(
                "ImageTooLarge",
                f"the container image unpacks to more than {self.limit} bytes, which is the limit"
                f" here; use a smaller one or raise the limit",
                retry=False,
            )

    def _read(self, stream: _Stream) -> None:
        hidden: set[str] = set()
        for name, entry in _entries(stream):
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if parts in ([OPAQUE], [WHITEOUT + FOLDER], [FOLDER, OPAQUE]):
                self._over = True
            elif parts == [FOLDER] and entry.type != tarfile.DIRTYPE:
                self._over, self._link = True, _shown(FOLDER)
            elif len(parts) == 2 and parts[0] == FOLDER:
                hidden.add(parts[1].removeprefix(WHITEOUT))
                if not parts[1].startswith(WHITEOUT) and parts[1] not in self._hidden:
                    self._meet(parts[1], entry, stream)
        self._hidden |= hidden

    def _meet(self, name: str, entry: tarfile.TarInfo, stream: _Stream) -> None:
        if entry.type in _LINKS:
            self._link = _shown(name)
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise ImageError(
                "UnsupportedFormat",
                f"{_shown(name)} below /{FOLDER} of the container image is stored as a sparse file"
                f" of tar's; make the image without --sparse",
                retry=False,
            )
        if entry.type not in _PLAIN:
            return
        if self.found is not None:
            raise ImageError(
                "NotAnImage",
                f"the container image has more than one file below /{FOLDER}"
                f" ({_shown(self._name)}, {_shown(name)}): which is the image cannot be told",
                retry=False,
            )
        with Sink(self.spool, self.limit) as sink:
            for chunk in stream.data():
                sink.write(chunk)
        self._name = name
        self.found = Unpacked(sink.path, sink.size, sink.hashes["sha256"].hexdigest())


def _shown(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)[:100]


def _plain(stored: BinaryIO) -> Iterator[bytes]:
    while chunk := stored.read(CHUNK):
        yield chunk


class _Stream:
    """A tar archive's bytes, each read once."""

    def __init__(self, chunks: Iterator[bytes], take: Callable[[int], None]) -> None:
        self._chunks, self._take = chunks, take
        self._rest = b""
        self._left = 0
        """Bytes of the present entry's data that were not read."""
        self._padding = 0

    def header(self) -> bytes:
        """The next block of one, behind the data before it. Empty at the end of the stream."""
        for _ in self.data():
            pass
        self._padding -= len(self._exactly(self._padding))
        return b"".join(self._pieces(BLOCK, may_end=True))

    def begin(self, size: int) -> None:
        """Data of that many bytes follows."""
        self._left, self._padding = size, -size % BLOCK

    def data(self) -> Iterator[bytes]:
        while self._left:
            for piece in self._pieces(min(self._left, CHUNK)):
                self._left -= len(piece)
                yield piece

    def _exactly(self, size: int) -> bytes:
        return b"".join(self._pieces(size))

    def _pieces(self, size: int, *, may_end: bool = False) -> Iterator[bytes]:
        wanted = size
        while wanted:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                self._take(len(self._rest))
            if not self._rest:
                if may_end and wanted == size:
                    return
                raise _damaged("it ends too early")
            piece, self._rest = self._rest[:wanted], self._rest[wanted:]
            wanted -= len(piece)
            yield piece


@dataclass
class _Told:
    """What extended headers say of the entry behind them."""

    name: str = ""
    size: int | None = None
    sparse: bool = False

    def record(self, records: Mapping[str, str]) -> None:
        self.name = records.get("path", self.name)
        if "size" in records:
            self.size = _number(records["size"])
        if any(key.startswith("GNU.sparse.") for key in records):
            self.sparse = True
            self.name = records.get("GNU.sparse.name", self.name)


def _entries(stream: _Stream) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Name and header of each entry, whose data can be read until the next one is asked for. The
    standard library reads the header of each block; its reader of whole archives would take
    extended headers of any size into memory.
    """
    told = _Told()
    while (entry := _header(stream)) is not None:
        if entry.type == tarfile.GNUTYPE_LONGNAME:
            told.name = _text(_extended(stream, entry)).rstrip("\0")
        elif entry.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            told.record(_records(_extended(stream, entry)))
        elif entry.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            stream.begin(entry.size)
        else:
            if entry.isreg() or entry.type not in tarfile.SUPPORTED_TYPES:
                stream.begin(entry.size if told.size is None else told.size)
            entry.type = tarfile.GNUTYPE_SPARSE if told.sparse else entry.type
            yield told.name or entry.name, entry
            told = _Told()


def _header(stream: _Stream) -> tarfile.TarInfo | None:
    block = stream.header()
    if block.count(0) == len(block):
        return None
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise _damaged("it is no tar archive") from error
    if entry.size < 0:
        raise _damaged("an entry has a size below zero")
    return entry


def _extended(stream: _Stream, entry: tarfile.TarInfo) -> bytes:
    if entry.size > LONGEST_NAME:
        raise _damaged("it has a header of more than 1 MiB")
    stream.begin(entry.size)
    return b"".join(stream.data())


def _records(data: bytes) -> Mapping[str, str]:
    """The records of an extended header of pax: `<length> <key>=<value>` and a line's end."""
    records = {}
    while data and data[0]:
        digits, _, _ = data.partition(b" ")
        length = _number(_text(digits))
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not equals or length > len(data):
            raise _damaged("it has an extended header that cannot be read")
        records[_text(key)] = _text(value[:-1])
        data = data[length:]
    return records


def _number(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise _damaged("it has a number that is none")
    return int(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _damaged(why: str) -> ImageError:
    return ImageError("NotAnImage", f"{_WHAT} cannot be read: {why}", retry=False)
