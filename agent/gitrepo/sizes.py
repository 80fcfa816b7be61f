"""How large an object is, from its header alone: a few kilobytes in a repository can stand for
gigabytes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from operator import length_hint
from pathlib import Path
from typing import IO, BinaryIO

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, hex_to_sha
from dulwich.pack import OFS_DELTA, REF_DELTA

_HEADER = 32
"""Bytes, inflated, in which the header of a loose object or of a delta ends."""
_ENOUGH = 512
"""Bytes of a repository in which both stand."""
_CHUNK = 64 * 1024
_ID = 20
_LONGEST = 70
"""Bits of the largest number."""


def size(store: DiskObjectStore, identity: str) -> int:
    """Bytes of an object's content as its header has it. KeyError if there is no such object,
    ValueError or zlib.error where it is damaged.
    """
    raw = hex_to_sha(ObjectID(identity.encode()))
    try:
        path, offset = store._lookup_in_packs(  # noqa: SLF001  # looks again where Git repacks
            lambda pack: (pack.data.path, pack.index.object_offset(raw))
        )
    except KeyError:
        pass
    else:
        with Path(os.fsdecode(path)).open("rb") as file:
            file.seek(offset)
            return _packed(file)
    try:
        with (Path(os.fsdecode(store.path)) / identity[:2] / identity[2:]).open("rb") as file:
            return _loose(file)
    except FileNotFoundError:
        pass
    for other in store.alternates:
        if isinstance(other, DiskObjectStore):
            try:
                return size(other, identity)
            except KeyError:
                continue
    raise KeyError(identity)


def _loose(file: BinaryIO) -> int:
    """`blob`, the size, a zero byte and the content, all of it deflated."""
    head, ended, _ = _inflated(file.read(_ENOUGH)).partition(b"\0")
    _, _, length = head.partition(b" ")
    if not ended or not length.isdigit():
        raise ValueError("no header of an object")
    return int(length)


def _packed(file: BinaryIO) -> int:
    length, at, delta = _entry(data := file.read(_ENOUGH))
    return _result(data[at:]) if delta else length


def _entry(data: bytes) -> tuple[int, int, bool]:
    """The header of a pack's entry: the size of what is deflated there, where that begins, and
    whether it is a delta.
    """
    head = iter(data)
    first = next(head, 0)
    kind = first >> 4 & 7
    length = first & 0x0F
    if first & 0x80:
        length |= _number(head) << 4
    if kind == OFS_DELTA:
        _number(head)  # where what it is a delta to lies
    at = len(data) - length_hint(head)
    return length, at + (_ID if kind == REF_DELTA else 0), kind in (OFS_DELTA, REF_DELTA)


def _result(deflated: bytes) -> int:
    """The size that a delta's result has."""
    head = iter(_inflated(deflated))
    _number(head)  # the size of what it is a delta to
    return _number(head)


def largest_of(file: IO[bytes], most: int) -> int:
    """The size of a pack's largest object, or of the first one that has more than `most` bytes.
    ValueError or zlib.error where it is damaged.
    """
    largest, data = 0, file.read(_ENOUGH)
    count = int.from_bytes(data[8:12], "big")
    data = data[12:]
    for _ in range(count):
        data += file.read(max(0, _ENOUGH - len(data)))
        length, at, delta = _entry(data)
        largest = max(largest, length, _result(data[at:]) if delta else 0)
        if largest > most:
            break
        data = _behind(file, data[at:], length)
    return largest


def _behind(file: IO[bytes], data: bytes, length: int) -> bytes:
    """What was read behind a zlib stream of so many bytes, of which nothing is kept."""
    stream = zlib.decompressobj()
    while not stream.eof:
        if not data and not (data := file.read(_CHUNK)):
            raise ValueError("the pack ends within an object")
        length -= len(stream.decompress(data, _CHUNK))
        if length < 0:
            raise ValueError("an object is larger than its header says")
        data = stream.unconsumed_tail
    return stream.unused_data


def _number(data: Iterator[int]) -> int:
    """Groups of seven bits, the lowest first; all but the last one have the eighth bit set."""
    number = 0
    for at, byte in zip(range(0, _LONGEST, 7), data, strict=False):
        number |= (byte & 0x7F) << at
        if not byte & 0x80:
            return number
    raise ValueError("no number in the header of an object")


def _inflated(deflated: bytes) -> bytes:
    """The first bytes of a zlib stream."""
    return zlib.decompressobj().decompress(deflated, _HEADER)
