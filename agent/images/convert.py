"""Conversion of other hypervisors' disks to qcow2."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from agent.images import child
from agent.images.errors import ImageError
from agent.images.spool import check_space

CONVERTED = frozenset({"vmdk", "vdi", "vhdx", "vpc"})
"""What is stored as qcow2; qcow2, raw and iso are stored as they came."""

PERCENT = re.compile(rb"\((\d{1,3})(?:\.\d+)?/100%\)")
SECONDS = 4 * 3600.0
CPU = 4 * 3600
MEMORY = 2 * 1024**3


def to_qcow2(
    path: Path,
    source_format: str,
    target: Path,
    *,
    cancelled: Callable[[], bool],
    limit: int,
    progress: Callable[[int], None] = lambda percent: None,
    seconds: float = SECONDS,
) -> None:
    """Write `path`, known to be of `source_format` and to stand alone, to `target`, at most
    `limit` bytes.

    `target` keeps its mode if it exists. It is removed when this raises ImageError. `progress`
    gets percents.
    """
    if source_format not in CONVERTED:
        raise ValueError(f"{source_format} is stored as it is")
    try:
        check_space(target.parent, path.stat().st_size)
        finished = child.qemu_img(
            [
                *("convert", "-p", "-f", source_format, "-O", "qcow2"),
                *(str(path.resolve()), str(target.resolve())),
            ],
            child.Limits(seconds=seconds, cpu=CPU, memory=MEMORY, file_size=limit),
            cancelled=cancelled,
            on_output=_percents(progress),
        )
        _judge(finished, source_format)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _judge(finished: child.Finished, source_format: str) -> None:
    if finished.code == 0:
        return
    if "No space left" in finished.stderr:
        raise ImageError("SpoolFull", "there is no room for the converted image", retry=True)
    if "File too large" in finished.stderr:
        raise ImageError(
            "ImageTooLarge", "the converted image is larger than the limit here", retry=False
        )
    raise ImageError(
        "ConversionFailed",
        f"the {source_format} image cannot be converted: {finished.complaint}",
        retry=False,
    )


def _percents(progress: Callable[[int], None]) -> Callable[[bytes], None]:
    last = -1

    def observe(data: bytes) -> None:
        nonlocal last
        percents = PERCENT.findall(data)
        if percents and int(percents[-1]) != last:
            last = int(percents[-1])
            progress(last)

    return observe
