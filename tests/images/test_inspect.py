from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
from pathlib import Path

import pycdlib
import pytest

from agent.images import child
from agent.images.errors import ImageError
from agent.images.inspect import ImageFile, inspect
from tests.images.conftest import MIB, QemuImg, never


def reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        inspect(path)
    assert not caught.value.retry
    assert str(path.parent) not in caught.value.message
    return caught.value.reason


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx", "vpc"])
def test_formats_are_told_by_content(qemu_img: QemuImg, image_format: str) -> None:
    path = qemu_img("no-name", image_format)
    image = inspect(path)
    assert (image.format, image.stored_size) == (image_format, path.stat().st_size)
    # A vpc disk has whole cylinders.
    assert (
        4 * MIB
        <= image.virtual_size
        < (4 * MIB + 64 * 1024 if image_format == "vpc" else 4 * MIB + 1)
    )


def test_a_fixed_vpc_disk_shows_itself_at_its_end(qemu_img: QemuImg) -> None:
    path = qemu_img("fixed", "vpc", "-o", "subformat=fixed,force_size=on")
    assert inspect(path) == ImageFile("vpc", 4 * MIB, 4 * MIB + 512)


def test_a_raw_disk_has_whole_sectors(disk: Path) -> None:
    assert inspect(disk) == ImageFile("raw", 4 * MIB, 4 * MIB)
    with disk.open("ab") as stream:
        stream.write(b"x")
    assert inspect(disk) == ImageFile("raw", 4 * MIB + 512, 4 * MIB + 1)


def test_a_blank_disk_is_raw(tmp_path: Path) -> None:
    assert inspect(written(tmp_path, bytes(MIB))).format == "raw"


@pytest.mark.parametrize("udf", [None, "2.60"])
def test_an_iso_is_told_by_its_descriptor(tmp_path: Path, udf: str | None) -> None:
    iso = pycdlib.PyCdlib()
    iso.new(udf=udf)
    iso.add_fp(io.BytesIO(b"hello"), 5, "/HELLO.;1")
    path = tmp_path / "disc"
    iso.write(str(path))
    iso.close()
    assert inspect(path) == ImageFile("iso", path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"not found", "only 9 bytes"),
        (bytes(511), "only 511 bytes"),
        (b"<!DOCTYPE html><html>" + b"<p>Not found</p>" * 100, "HTML page"),
        (b"\xef\xbb\xbf\n<html>" + b" " * 600, "HTML page"),
        (b'<?xml version="1.0"?>' + b"<Error>AccessDenied</Error>" * 50, "XML document"),
        (b'{"error": "denied", "detail": "' + b"x" * 600 + b'"}', "JSON document"),
        ("Größe\n".encode() * 200, "text"),
        ("text".encode("utf-16") * 200, "text"),
        (b"\x7fELF" + bytes(4000), "program"),
        (b"PK\x03\x04" + bytes(4000), "zip"),
        (b"\x1f\x8b\x08" + bytes(4000), "compressed twice"),
        (b"a/disk.vmdk" + bytes(246) + b"ustar\x0000" + bytes(4000), "tar"),
    ],
)
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ImageError, match=words) as caught:
        inspect(path)
    assert (caught.value.reason, caught.value.retry) == ("NotAnImage", False)


@pytest.mark.parametrize("how", ["relative", "absolute", "json:"])
def test_a_backing_file_is_refused(tmp_path: Path, qemu_img: QemuImg, how: str) -> None:
    base = qemu_img("base.qcow2", "qcow2")
    name = {
        "relative": "base.qcow2",
        "absolute": str(base),
        "json:": f'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{base}"}}}}',
    }[how]
    top = tmp_path / "top"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", str(top)]
    subprocess.run(command, check=True)
    assert reason(top) == "BackingFileRefused"


def test_an_external_data_file_is_refused(qemu_img: QemuImg, tmp_path: Path) -> None:
    path = qemu_img("top", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on")
    assert reason(path) == "DataFileRefused"


def test_an_encrypted_image_is_refused(qemu_img: QemuImg) -> None:
    # not luks: qemu-img measures its own CPU time for that, which fails on a busy machine
    path = qemu_img(
        "secret", "qcow2", "--object", "secret,id=s,data=pass",
        "-o", "encrypt.format=aes,encrypt.key-secret=s",
    )  # fmt: skip
    assert reason(path) == "EncryptedImageRefused"


def test_internal_snapshots_are_fine(qemu_img: QemuImg) -> None:
    path = qemu_img("disk", "qcow2")
    subprocess.run(["qemu-img", "snapshot", "-c", "first", str(path)], check=True)
    assert inspect(path).format == "qcow2"


def test_leaked_clusters_are_fine(qemu_img: QemuImg) -> None:
    path = qemu_img("disk", "qcow2")
    with path.open("ab") as stream:
        stream.write(bytes(65536))
    assert inspect(path).format == "qcow2"


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx", "vpc"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_disk_that_was_cut_off_is_refused(
    qemu_img: QemuImg, image_format: str, part: float
) -> None:
    path = qemu_img("disk", image_format)
    os.truncate(path, int(path.stat().st_size * part))
    assert reason(path) == "NotAnImage"


def test_a_disk_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", str(path), "65T"]
    subprocess.run(command, check=True)
    assert reason(path) == "ImageTooLarge"


@pytest.mark.parametrize(
    "subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"]
)
def test_a_vmdk_that_names_other_files_is_refused(qemu_img: QemuImg, subformat: str) -> None:
    path = qemu_img("disk.vmdk", "vmdk", "-o", f"subformat={subformat}")
    assert reason(path) == "UnsupportedFormat"


def test_a_stream_optimised_vmdk_passes(qemu_img: QemuImg) -> None:
    assert inspect(qemu_img("disk", "vmdk", "-o", "subformat=streamOptimized")).format == "vmdk"


def test_a_vmdk_snapshot_is_refused(qemu_img: QemuImg, tmp_path: Path) -> None:
    base = qemu_img("base.vmdk", "vmdk")
    top = tmp_path / "top"
    command = ["qemu-img", "create", "-q", "-f", "vmdk", "-b", str(base), "-F", "vmdk", str(top)]
    subprocess.run(command, check=True)
    assert reason(top) == "BackingFileRefused"


def test_a_vmdk_whose_description_names_other_files_is_refused(qemu_img: QemuImg) -> None:
    path = qemu_img("disk", "vmdk")
    image = bytearray(path.read_bytes())
    struct.pack_into("<Q", image, 12, 0)
    path.write_bytes(image)
    assert reason(path) == "UnsupportedFormat"


@pytest.mark.parametrize(
    "content",
    [b"QFI\xfb\0\0\0\1" + bytes(600), b"QED\0" + bytes(600), b"LUKS\xba\xbe" + bytes(600)],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes) -> None:
    assert reason(written(tmp_path, content)) == "UnsupportedFormat"


def test_a_name_is_never_a_protocol_or_an_option(qemu_img: QemuImg, tmp_path: Path) -> None:
    path = qemu_img("disk", "qcow2")
    odd = tmp_path / "nbd:unix:,file.driver=x -f raw"
    path.rename(odd)
    assert inspect(odd).format == "qcow2"


def limits(seconds: float = 30, cpu: int = 30, memory: int = 1024 * MIB) -> child.Limits:
    return child.Limits(seconds=seconds, cpu=cpu, memory=memory)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for qemu-img where that would have to misbehave."""
    path = tmp_path / "bin" / "qemu-img"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def failed(bounds: child.Limits) -> ImageError:
    with pytest.raises(ImageError) as caught:
        child.qemu_img([], bounds, cancelled=never)
    return caught.value


def test_a_child_that_hangs_is_ended(program: Path) -> None:
    script(program, "exec cat /dev/zero")
    error = failed(limits(seconds=0.1))
    assert (error.reason, error.retry) == ("TimedOut", True)


def test_a_child_that_computes_without_end_is_ended(program: Path) -> None:
    script(program, "while :; do :; done")
    error = failed(limits(cpu=1))
    assert (error.reason, error.retry) == ("TooComplex", False)


def test_a_child_has_bounded_memory_and_writes_no_file(program: Path) -> None:
    script(program, "ulimit -v; ulimit -f; ulimit -c; env")
    done = child.qemu_img([], limits(memory=512 * MIB), cancelled=never)
    said = done.stdout.decode().split()
    assert said[:3] == [str(512 * 1024), "0", "0"]
    assert {entry.partition("=")[0] for entry in said[3:]} <= {
        "LC_ALL",
        "PATH",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }


def test_output_without_end_is_not_kept(program: Path) -> None:
    script(program, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    done = child.qemu_img([], limits(), cancelled=never)
    assert (done.code, len(done.stdout), len(done.stderr)) == (0, child.KEPT, child.KEPT)


def test_a_child_can_be_cancelled(program: Path) -> None:
    script(program, "exec cat")
    with pytest.raises(ImageError) as caught:
        child.qemu_img([], limits(), cancelled=lambda: True)
    assert caught.value.reason == "Cancelled"


def test_a_missing_qemu_img_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failed(limits())
    assert (error.reason, error.retry) == ("QemuImgMissing", True)
    assert "qemu-utils" in error.message
