"""The header of a qcow2 image, read before any other program opens the file.

Layout: docs/interop/qcow2.txt of QEMU. All numbers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.images.errors import ImageError

MAGIC = b"QFI\xfb"
HEADER_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
HEADER_V3 = struct.Struct(">QQQII")
EXTENSION = struct.Struct(">II")

CORRUPT = 1 << 1
DATA_FILE = 1 << 2
KNOWN_FEATURES = 0b11111
"""Dirty, corrupt, external data file, compression type, extended L2 entries."""
DATA_FILE_NAME = 0x44415441
ENCRYPTION_HEADER = 0x0537BE77
END_OF_EXTENSIONS = 0


@dataclass(frozen=True)
class Qcow2Header:
    """What a header that was let pass says. It names no other file."""

    version: int
    virtual_size: int
    cluster_bits: int


def read_header(head: bytes, file_size: int) -> Qcow2Header:
    """Read and judge a header. `head`: the file's first bytes, the whole first cluster where
    extensions are to be judged.

    Raises ImageError, and nothing else, for whatever bytes: BackingFileRefused,
    DataFileRefused, EncryptedImageRefused, UnsupportedFormat, NotAnImage.
    """
    if len(head) < HEADER_V2.size or not head.startswith(MAGIC):
        raise _broken("the header is cut off")
    (_, version, backing_offset, backing_size, cluster_bits, size, crypt, l1_size, l1_offset) = (
        HEADER_V2.unpack_from(head)[:9]
    )
    if version not in (2, 3):
        raise ImageError(
            "UnsupportedFormat",
            f"the image is qcow version {version}; convert it to qcow2 (qemu-img convert -O qcow2)",
            retry=False,
        )
    if backing_offset or backing_size:
        raise ImageError(
            "BackingFileRefused",
            "the image refers to a backing file; make a stand-alone one with qemu-img convert -O"
            " qcow2",
            retry=False,
        )
    if crypt:
        raise _encrypted()
    if not 9 <= cluster_bits <= 21:
        raise _broken(f"clusters of 2^{cluster_bits} bytes do not exist")
    if l1_offset + 8 * l1_size > file_size:
        raise _broken("it ends before its tables: the file is cut off")
    _judge_extensions(
        head, _judge_version_3(head) if version == 3 else HEADER_V2.size, cluster_bits
    )
    return Qcow2Header(version, size, cluster_bits)


def _judge_version_3(head: bytes) -> int:
    """Judge the fields that version 2 lacks and return the header's length."""
    if len(head) < HEADER_V2.size + HEADER_V3.size:
        raise _broken("the header is cut off")
    incompatible, _, _, _, length = HEADER_V3.unpack_from(head, HEADER_V2.size)
    if incompatible & DATA_FILE:
        raise _data_file()
    if incompatible & CORRUPT:
        raise _broken("it is marked as corrupt")
    if incompatible & ~KNOWN_FEATURES:
        raise ImageError(
            "UnsupportedFormat",
            f"the qcow2 image uses features that are not known here (bits {incompatible:#x})",
            retry=False,
        )
    if length < HEADER_V2.size + HEADER_V3.size or length % 8 or length > len(head):
        raise _broken(f"a header of {length} bytes does not exist")
    return int(length)


def _judge_extensions(head: bytes, offset: int, cluster_bits: int) -> None:
    end = min(1 << cluster_bits, len(head))
    while offset + EXTENSION.size <= end:
        kind, length = EXTENSION.unpack_from(head, offset)
        if kind == END_OF_EXTENSIONS:
            return
        if kind == DATA_FILE_NAME:
            raise _data_file()
        if kind == ENCRYPTION_HEADER:
            raise _encrypted()
        offset += EXTENSION.size + (length + 7) // 8 * 8
    if offset > end:
        raise _broken("a header extension runs over the first cluster")


def _broken(what: str) -> ImageError:
    return ImageError("NotAnImage", f"the qcow2 image is damaged: {what}", retry=False)


def _data_file() -> ImageError:
    return ImageError(
        "DataFileRefused",
        "the image keeps its data in another file; make a stand-alone one with qemu-img convert"
        " -O qcow2",
        retry=False,
    )


def _encrypted() -> ImageError:
    return ImageError(
        "EncryptedImageRefused", "the image is encrypted; serve it decrypted", retry=False
    )
