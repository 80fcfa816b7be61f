from __future__ import annotations

import gzip
import hashlib
import lzma
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.image_sources import HttpSource
from agent.images.partial import sweep
from agent.images.pipeline import ImageError, Prepared, fetch
from agent.images.spool import new_file
from tests.images.conftest import LIMIT, LOOPBACK, MIB, QUICK, QemuImg, never, nothing_left
from tests.images.server import Faulty, Route, endless, hangs_after, serve, status, stops_at


def get(
    server: Faulty,
    spool: Path,
    route: Route,
    *,
    cancelled: Callable[[], bool] = never,
    limit: int = LIMIT,
    **checksums: str,
) -> Prepared:
    server.routes["/disk"] = route
    source = HttpSource(server.url("/disk"), checksums)
    return fetch(
        source, spool, lambda done, total: None, cancelled, limit, reach=LOOPBACK, patience=QUICK
    )


def only_the_result(spool: Path, got: Prepared) -> bool:
    return list(spool.iterdir()) == [got.path]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_what_can_be_stored_as_it_is_stays_as_it_is(
    server: Faulty,
    spool: Path,
    qemu_img: QemuImg,
    image_format: str,
    pack: Callable[[bytes], bytes],
) -> None:
    content = qemu_img("image", image_format).read_bytes()
    packed = pack(content)
    got = get(server, spool, serve(packed), sha256=hashlib.sha256(packed).hexdigest())
    assert only_the_result(spool, got)
    assert got.path.read_bytes() == content
    assert (got.format, got.virtual_size) == (image_format, 4 * MIB)
    assert got.stored_size == len(content)
    assert got.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("image_format", ["vmdk", "vdi", "vhdx"])
def test_other_disks_are_stored_as_qcow2(
    server: Faulty, spool: Path, qemu_img: QemuImg, image_format: str
) -> None:
    content = qemu_img("image", image_format).read_bytes()
    got = get(server, spool, serve(content))
    assert only_the_result(spool, got)
    stored = got.path.read_bytes()
    assert stored[:4] == b"QFI\xfb"
    assert (got.format, got.virtual_size, got.stored_size) == ("qcow2", 4 * MIB, len(stored))
    assert got.digest == hashlib.sha256(stored).hexdigest()


@pytest.mark.parametrize(
    ("route", "reason", "retry"),
    [
        (status(404), "ImagePullFailed", True),
        (status(500), "ImagePullFailed", True),
        (stops_at(bytes(MIB), 1000), "ImagePullFailed", True),
        (endless, "ImageTooLarge", False),
        (serve(gzip.compress(bytes(2 * LIMIT))), "ImageTooLarge", False),
        (serve(gzip.compress(bytes(MIB))[:-20]), "NotAnImage", False),
        (serve(gzip.compress(gzip.compress(bytes(MIB)))), "NotAnImage", False),
        (serve(b"\x28\xb5\x2f\xfd" + bytes(1000)), "NotAnImage", False),
        (serve(b""), "NotAnImage", False),
        (serve(b"<html>" + b"login " * 200), "NotAnImage", False),
        (serve(b"QFI\xfb" + bytes(MIB)), "UnsupportedFormat", False),
        (serve(b"vhdxfile" + bytes(MIB)), "NotAnImage", False),
    ],
)
def test_nothing_is_left_of_what_fails(
    server: Faulty, spool: Path, route: Route, reason: str, retry: bool
) -> None:
    with pytest.raises(ImageError) as caught:
        get(server, spool, route)
    assert (caught.value.reason, caught.value.retry) == (reason, retry)
    assert nothing_left(spool)


def test_nothing_is_left_of_a_wrong_checksum(server: Faulty, spool: Path, disk: Path) -> None:
    with pytest.raises(ImageError) as caught:
        get(server, spool, serve(disk.read_bytes()), md5="0" * 32)
    assert (caught.value.reason, caught.value.retry) == ("ChecksumMismatch", False)
    assert nothing_left(spool)


def test_a_conversion_that_fails_leaves_nothing(
    server: Faulty, spool: Path, qemu_img: QemuImg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise ImageError("SpoolFull", "no room", retry=True)

    monkeypatch.setattr("agent.images.pipeline.to_qcow2", full)
    with pytest.raises(ImageError, match="no room"):
        get(server, spool, serve(qemu_img("image", "vmdk").read_bytes()))
    assert nothing_left(spool)


def test_cancelling_in_the_middle_leaves_nothing(server: Faulty, spool: Path, disk: Path) -> None:
    reached = threading.Event()
    with pytest.raises(ImageError) as caught:
        get(server, spool, hangs_after(disk.read_bytes(), reached), cancelled=reached.is_set)
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)


@pytest.mark.parametrize("stage", range(1, 40, 3))
def test_cancelling_at_any_question_leaves_nothing(
    server: Faulty, spool: Path, qemu_img: QemuImg, stage: int
) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked >= stage

    packed = gzip.compress(qemu_img("image", "vmdk").read_bytes())
    with pytest.raises(ImageError) as caught:
        get(server, spool, serve(packed), cancelled=cancelled)
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)


def test_sweeping_takes_what_a_killed_run_left_and_nothing_else(
    tmp_path: Path, spool: Path
) -> None:
    sweep(spool)
    left = new_file(spool)
    target = tmp_path / "target"
    target.write_text("keep")
    (spool / f"{left.name}-link").symlink_to(target)
    (spool / "other").write_text("keep")
    sweep(spool)
    assert [path.name for path in spool.iterdir()] == ["other"]
    assert target.read_text() == "keep"
