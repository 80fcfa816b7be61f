"""What an image file is. Asked once, when the file is new: a guest can write any header into
its disk later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.core.model import Json
from agent.images import child, qcow2
from agent.images.detect import HEAD, SECTOR, detect
from agent.images.errors import ImageError

MAX_VIRTUAL_SIZE = 64 * 1024**4
"""64 TiB. The largest disk that is accepted."""
INFO_LIMITS = child.Limits(seconds=60, cpu=20, memory=1024**3)
CHECK_LIMITS = child.Limits(seconds=900, cpu=600, memory=2 * 1024**3)


@dataclass(frozen=True)
class ImageFile:
    """`format` is qcow2, raw, iso, vmdk, vdi, vhdx or vpc. `virtual_size`: bytes that a guest
    sees, whole sectors. `stored_size`: bytes of the file.
    """

    format: str
    virtual_size: int
    stored_size: int


def inspect(path: Path, *, cancelled: Callable[[], bool] = lambda: False) -> ImageFile:
    """Find out what `path` is and that it is whole and stands alone; else raise ImageError.

    qemu-img is told the format and never guesses it.
    """
    path = path.resolve()
    size = path.stat().st_size
    head, tail = _ends(path, size)
    image_format = detect(head, tail, size)
    if image_format in ("raw", "iso"):
        return _within_bounds(ImageFile(image_format, -(-size // SECTOR) * SECTOR, size))
    if image_format == "qcow2":
        header = qcow2.read_header(_first_cluster(path), size)
        _within_bounds(ImageFile(image_format, header.virtual_size, size))
    info = _info(path, image_format, cancelled)
    image = _within_bounds(ImageFile(image_format, info["virtual-size"], size))
    if image_format in ("qcow2", "vmdk"):
        _check(path, image_format, cancelled)
    return image


def _ends(path: Path, size: int) -> tuple[bytes, bytes]:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        stream.seek(max(0, size - SECTOR), os.SEEK_SET)
        return head, stream.read(SECTOR)


def _first_cluster(path: Path) -> bytes:
    """Enough for every cluster size that qcow2 has."""
    with path.open("rb") as stream:
        return stream.read(1 << 21)


def _within_bounds(image: ImageFile) -> ImageFile:
    if image.virtual_size > MAX_VIRTUAL_SIZE:
        raise ImageError(
            "ImageTooLarge",
            f"the disk in the image has {image.virtual_size} bytes; at most {MAX_VIRTUAL_SIZE}"
            f" (64 TiB) are accepted",
            retry=False,
        )
    if image.virtual_size <= 0:
        raise ImageError("NotAnImage", "the disk in the image has no content", retry=False)
    return image


def _info(path: Path, image_format: str, cancelled: Callable[[], bool]) -> dict[str, Json]:
    finished = child.qemu_img(
        ["info", "--output=json", "-f", image_format, str(path)], INFO_LIMITS, cancelled=cancelled
    )
    if finished.code != 0:
        raise _unreadable(image_format, finished)
    try:
        info: dict[str, Json] = json.loads(finished.stdout)
    except ValueError as error:
        raise ImageError(
            "NotAnImage",
            f"the description in the {image_format} image is too long",
            retry=False,
        ) from error
    # The readers above refuse these before qemu-img runs; formats may learn new ways to say them.
    if any(info.get(name) for name in ("backing-filename", "full-backing-filename")):
        raise ImageError(
            "BackingFileRefused",
            "the image refers to a backing file; make it stand-alone",
            retry=False,
        )
    if info.get("encrypted"):
        raise ImageError(
            "EncryptedImageRefused", "the image is encrypted; serve it decrypted", retry=False
        )
    return info


def _check(path: Path, image_format: str, cancelled: Callable[[], bool]) -> None:
    """A file that was cut off opens without complaint and reads as zeros where data is
    missing.
    """
    finished = child.qemu_img(
        ["check", "--output=json", "-f", image_format, str(path)], CHECK_LIMITS, cancelled=cancelled
    )
    leaks_only = 3
    if finished.code not in (0, leaks_only):
        raise _unreadable(image_format, finished)


def _unreadable(image_format: str, finished: child.Finished) -> ImageError:
    return ImageError(
        "NotAnImage",
        f"the {image_format} image is damaged or cut off: {finished.complaint}",
        retry=False,
    )
