"""Starts qemu-img, which reads what strangers made, in a child with limits."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.images.errors import CancelledError, ImageError

KEPT = 256 * 1024
"""Bytes of each output that are kept; what comes after is read and dropped."""
INTERVAL = 0.2
PATHS = re.compile(r"/[^'\"]*/[^'\": ]+")


@dataclass(frozen=True)
class Limits:
    """`seconds` of wall time, `cpu` seconds of processor time, bytes of address space, bytes of
    any file it writes.
    """

    seconds: float
    cpu: int
    memory: int
    file_size: int = 0


@dataclass(frozen=True)
class Finished:
    code: int
    stdout: bytes
    stderr: str

    @property
    def complaint(self) -> str:
        """The first line of what it complained of, without the paths of this host."""
        said = self.stderr.strip().splitlines()
        text = said[0] if said else f"qemu-img ended with {self.code}"
        return PATHS.sub("image", text)[:200]


def qemu_img(
    arguments: Sequence[str],
    limits: Limits,
    *,
    cancelled: Callable[[], bool],
    on_output: Callable[[bytes], None] | None = None,
) -> Finished:
    """Run qemu-img to its end and return whatever it did. It never outlives this call.

    Raises ImageError: Cancelled, QemuImgMissing, TimedOut (wall time), TooComplex
    (processor time), QemuImgKilled.
    """
    program = shutil.which("qemu-img")
    if program is None:
        raise ImageError(
            "QemuImgMissing",
            "qemu-img is not installed; install the package qemu-utils",
            retry=True,
        )
    # The limits are set by a shell that becomes qemu-img: code between fork and exec is not
    # safe beside threads.
    script = (
        f"ulimit -c 0; ulimit -S -t {limits.cpu}; ulimit -v {limits.memory // 1024};"
        f' ulimit -f {limits.file_size // 512}; exec "$@"'
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": os.defpath},
        start_new_session=True,
    ) as process:
        try:
            output = _read(process, time.monotonic() + limits.seconds, cancelled, on_output)
        finally:
            process.kill()
            code = process.wait()
    if code == -signal.SIGKILL:
        raise ImageError("QemuImgKilled", "qemu-img was killed, perhaps for memory", retry=True)
    if code == -signal.SIGXCPU:
        raise ImageError(
            "TooComplex", "the image takes more processor time than is allowed here", retry=False
        )
    return Finished(code, output[0], output[1].decode("utf-8", "replace"))


def _read(
    process: subprocess.Popen[bytes],
    deadline: float,
    cancelled: Callable[[], bool],
    on_output: Callable[[bytes], None] | None,
) -> tuple[bytes, bytes]:
    """Read both outputs until the child has ended."""
    outputs = (bytearray(), bytearray())
    with selectors.DefaultSelector() as selector:
        for stream, output in zip((process.stdout, process.stderr), outputs, strict=True):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, output)
        while selector.get_map():
            if cancelled():
                raise CancelledError
            if time.monotonic() > deadline:
                raise _too_late()
            for key, _ in selector.select(INTERVAL):
                data = os.read(key.fd, 64 * 1024)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                key.data.extend(data[: KEPT - len(key.data)])
                if on_output is not None and key.data is outputs[0]:
                    on_output(data)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _too_late() from error
    return bytes(outputs[0]), bytes(outputs[1])


def _too_late() -> ImageError:
    return ImageError("TimedOut", "qemu-img did not finish in time", retry=True)
