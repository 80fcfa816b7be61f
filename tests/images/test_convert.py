from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from agent.images.convert import CONVERTED, to_qcow2
from agent.images.errors import ImageError
from agent.images.inspect import inspect
from agent.images.spool import new_file
from tests.images.conftest import LIMIT, MIB, QemuImg, never, nothing_left


@pytest.mark.parametrize("source_format", sorted(CONVERTED))
def test_other_disks_become_qcow2(
    qemu_img: QemuImg, disk: Path, spool: Path, source_format: str
) -> None:
    source = qemu_img("source", source_format)
    target = new_file(spool)
    percents: list[int] = []
    to_qcow2(source, source_format, target, cancelled=never, limit=LIMIT, progress=percents.append)
    assert inspect(target).format == "qcow2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert percents == sorted(percents)
    assert percents[-1] == 100
    back = spool / "back"
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(target), str(back)]
    subprocess.run(command, check=True)
    content = back.read_bytes()
    assert content[: 4 * MIB] == disk.read_bytes()
    assert not any(content[4 * MIB :])


@pytest.mark.parametrize("source_format", ["raw", "qcow2", "iso"])
def test_what_is_stored_as_it_is_is_not_converted(
    disk: Path, spool: Path, source_format: str
) -> None:
    with pytest.raises(ValueError):
        to_qcow2(disk, source_format, new_file(spool), cancelled=never, limit=LIMIT)


def failed(source: Path, source_format: str, spool: Path, **options: object) -> ImageError:
    arguments = {"cancelled": never, "limit": LIMIT} | options
    with pytest.raises(ImageError) as caught:
        to_qcow2(source, source_format, new_file(spool), **arguments)  # type: ignore[arg-type]
    assert nothing_left(spool)
    return caught.value


def test_a_source_of_another_format_fails(disk: Path, spool: Path) -> None:
    error = failed(disk, "vmdk", spool)
    assert (error.reason, error.retry) == ("ConversionFailed", False)
    assert str(disk) not in error.message


def test_the_result_stays_within_the_limit(qemu_img: QemuImg, spool: Path) -> None:
    error = failed(qemu_img("source", "vmdk"), "vmdk", spool, limit=MIB)
    assert (error.reason, error.retry) == ("ImageTooLarge", False)


def test_cancelling_leaves_nothing(qemu_img: QemuImg, spool: Path) -> None:
    source = qemu_img("source", "vmdk")
    assert failed(source, "vmdk", spool, cancelled=lambda: True).reason == "Cancelled"


def test_the_time_is_bounded(qemu_img: QemuImg, spool: Path) -> None:
    source = qemu_img("source", "vmdk")
    assert failed(source, "vmdk", spool, seconds=-1).reason == "TimedOut"
