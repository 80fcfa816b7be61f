"""Which format a file is, from its bytes alone. Nothing else in the project ever guesses a
format.
"""

from __future__ import annotations

import re
import struct

from agent.images import qcow2
from agent.images.errors import ImageError

HEAD = 64 * 1024
"""How many of the file's first bytes `detect` wants; the last 512 are its tail."""
SECTOR = 512
VHDX_UNIT = 1024 * 1024
"""Everything in a vhdx file is aligned to it and a multiple of it."""

ISO_DESCRIPTOR = 32768 + 1
ISO_NAMES = (b"CD001", b"BEA01")
"""ISO 9660 and plain UDF."""

REFUSED = {
    b"\x7fELF": "a program (ELF)",
    b"MZ\x90\x00": "a Windows program",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"!<arch>\n": "an ar archive or Debian package",
    b"\xed\xab\xee\xdb": "an RPM package",
    b"070701": "a cpio archive",
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\xfd7zXZ\x00": "compressed twice",
    b"\x1f\x8b\x08": "compressed twice",
    b"\x28\xb5\x2f\xfd": "compressed twice",
    b"BZh": "compressed twice",
}
UNSUPPORTED = {
    b"QED\0": "qed",
    b"LUKS\xba\xbe": "luks",
    b"WithoutFreeSpace": "parallels",
    b"WithouFreSpacExt": "parallels",
    b"COWD": "vmdk of version 3",
    b"Bochs Virtual HD Image": "bochs",
}
TEXT_CONTROLS = b"\t\n\r\f\x1b"
VMDK_TYPE = re.compile(rb'createType\s*=\s*"([^"\n]*)"', re.IGNORECASE)
VMDK_PARENT = re.compile(rb"parentCID\s*=\s*([0-9a-f]+)", re.IGNORECASE)


def detect(head: bytes, tail: bytes, size: int) -> str:
    """Name the format of a file of `size` bytes: qcow2, vmdk, vdi, vhdx, vpc, iso or raw.

    A file that is no image, or one that needs other files, raises ImageError.
    """
    if size < SECTOR:
        what = "is empty" if size == 0 else f"has only {size} bytes"
        raise _no_image(f"{what}, and the smallest disk has {SECTOR}")
    for magic, name in UNSUPPORTED.items():
        if head.startswith(magic):
            raise ImageError(
                "UnsupportedFormat",
                f"images of format {name} are not supported; convert it with qemu-img convert -O"
                f" qcow2",
                retry=False,
            )
    special = _special(head, tail, size)
    if special is not None:
        return special
    if head[ISO_DESCRIPTOR : ISO_DESCRIPTOR + 5] in ISO_NAMES:
        return "iso"
    for magic, what in REFUSED.items():
        if head.startswith(magic):
            raise _no_image(f"is {what}")
    if head[257:262] == b"ustar":
        raise _no_image("is a tar archive; serve the disk inside it")
    if _is_text(head):
        raise _no_image(
            f"is {_kind_of_text(head)}, perhaps a web page or an error message; check the address"
        )
    return "raw"


def _special(head: bytes, tail: bytes, size: int) -> str | None:
    """Formats that have a magic number of their own."""
    if head.startswith(qcow2.MAGIC):
        return "qcow2"
    if head.startswith(b"KDMV"):
        _judge_vmdk(head)
        return "vmdk"
    if head.lstrip()[:21].lower() == b"# disk descriptorfile":
        raise _vmdk_refused("it is only the description of a disk whose data is in other files")
    if head.startswith(b"vhdxfile"):
        if size % VHDX_UNIT:
            raise ImageError("NotAnImage", "the vhdx image is cut off", retry=False)
        return "vhdx"
    if head[64:68] == b"\x7f\x10\xda\xbe":
        _judge_vdi(head, size)
        return "vdi"
    if head.startswith(b"conectix") or tail.startswith(b"conectix"):
        return "vpc"
    return None


def _judge_vmdk(head: bytes) -> None:
    """Let only a sparse extent pass that is a disk by itself: some descriptions name other
    files, which QEMU would open.
    """
    (capacity,) = struct.unpack_from("<Q", head, 12)
    match = VMDK_TYPE.search(head)
    kind = match[1].decode("ascii", "replace") if match else ""
    if not capacity or kind.lower() not in ("monolithicsparse", "streamoptimized"):
        raise _vmdk_refused(f"its type is {kind or 'unknown'!r}, which needs other files")
    parents = {parent.lower() for parent in VMDK_PARENT.findall(head)}
    if b"parentfilenamehint" in head.lower() or parents - {b"ffffffff"}:
        raise ImageError(
            "BackingFileRefused",
            "the vmdk image is a snapshot of another one; make a stand-alone disk of it",
            retry=False,
        )


def _judge_vdi(head: bytes, size: int) -> None:
    """QEMU reads blocks behind the end of a vdi file as zeros."""
    (data_offset,) = struct.unpack_from("<I", head, 344)
    block_size, _, _, allocated = struct.unpack_from("<4I", head, 376)
    if data_offset + block_size * allocated > size:
        raise ImageError("NotAnImage", "the vdi image is cut off", retry=False)


def _vmdk_refused(why: str) -> ImageError:
    return ImageError(
        "UnsupportedFormat",
        f"the vmdk image cannot be used: {why}; make one file with qemu-img convert -O qcow2",
        retry=False,
    )


def _is_text(head: bytes) -> bool:
    sample = head[:1024]
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return all(byte >= 32 or byte in TEXT_CONTROLS for byte in sample)


def _kind_of_text(head: bytes) -> str:
    start = head[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith(b"<"):
        return "an XML document"
    if start.startswith((b"{", b"[")):
        return "a JSON document"
    return "text"


def _no_image(what: str) -> ImageError:
    return ImageError("NotAnImage", f"the file is no disk image: it {what}", retry=False)
