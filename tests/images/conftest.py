from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.images.download import Patience
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from tests.images.server import Faulty

MIB = 1024 * 1024
LIMIT = 64 * MIB
LOOPBACK = Reach(ImageHosts.parse("127.0.0.1 ::1"))
QUICK = Patience(connect=5, read=5, window=5, attempts=3, pause=0.001)


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk of 4 MiB with a boot signature and data that does not compress, half of it zeros."""
    path = tmp_path / "disk.raw"
    path.write_bytes(
        bytes(510) + b"\x55\xaa" + random.Random(7).randbytes(2 * MIB - 512) + bytes(2 * MIB)
    )
    return path


QemuImg = Callable[..., Path]


@pytest.fixture
def qemu_img(tmp_path: Path, disk: Path) -> QemuImg:
    """Make `name` of the disk in a format, with qemu-img's own options."""

    def make(name: str, image_format: str, *options: str) -> Path:
        path = tmp_path / name
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", image_format, *options, disk, path],
            check=True,
            capture_output=True,
        )
        return path

    return make


def never() -> bool:
    return False


def nothing_left(spool: Path) -> bool:
    return not spool.exists() or not list(spool.iterdir())
