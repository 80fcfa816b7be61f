from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.images.errors import ImageError
from agent.images.qcow2 import read_header
from tests.images.conftest import MIB

SIZE = 10 * MIB


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("qcow2"))


def made(folder: Path, *options: str) -> bytes:
    path = folder / "made.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), str(SIZE)]
    subprocess.run(command, check=True)
    return path.read_bytes()


def reason(head: bytes, size: int | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_header(head, len(head) if size is None else size)
    assert not caught.value.retry
    return caught.value.reason


def patched(image: bytes, offset: int, form: str, value: int) -> bytes:
    copy = bytearray(image)
    struct.pack_into(form, copy, offset, value)
    return bytes(copy)


@pytest.mark.parametrize(
    ("options", "version", "bits"),
    [((), 3, 16), (("-o", "compat=0.10"), 2, 16), (("-o", "cluster_size=2M"), 3, 21)],
)
def test_stand_alone_images_pass(
    tmp_path: Path, options: tuple[str, ...], version: int, bits: int
) -> None:
    image = made(tmp_path, *options)
    header = read_header(image, len(image))
    assert (header.version, header.virtual_size) == (version, SIZE)
    assert header.cluster_bits == (bits if bits == 21 else 16)


@pytest.mark.parametrize(
    ("offset", "form", "value", "expected"),
    [
        (0, ">I", 0, "NotAnImage"),
        (4, ">I", 1, "UnsupportedFormat"),
        (4, ">I", 4, "UnsupportedFormat"),
        (8, ">Q", 512, "BackingFileRefused"),
        (16, ">I", 9, "BackingFileRefused"),
        (20, ">I", 8, "NotAnImage"),
        (20, ">I", 22, "NotAnImage"),
        (32, ">I", 1, "EncryptedImageRefused"),
        (32, ">I", 2, "EncryptedImageRefused"),
        (40, ">Q", 2**63, "NotAnImage"),
        (72, ">Q", 1 << 1, "NotAnImage"),
        (72, ">Q", 1 << 2, "DataFileRefused"),
        (72, ">Q", 1 << 9, "UnsupportedFormat"),
        (100, ">I", 72, "NotAnImage"),
        (100, ">I", 2**32 - 8, "NotAnImage"),
        (112, ">I", 0x44415441, "DataFileRefused"),
        (112, ">I", 0x0537BE77, "EncryptedImageRefused"),
        (116, ">I", 2**32 - 1, "NotAnImage"),
    ],
)
def test_each_danger_in_a_header_is_refused(
    plain: bytes, offset: int, form: str, value: int, expected: str
) -> None:
    assert reason(patched(plain, offset, form, value)) == expected


@pytest.mark.parametrize("length", [0, 4, 71, 72, 103])
def test_a_header_that_is_cut_off_is_refused(plain: bytes, length: int) -> None:
    assert reason(plain[:length], SIZE) == "NotAnImage"


changes = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 127), st.binary(min_size=1, max_size=8)),
        st.tuples(
            st.sampled_from([4, 8, 16, 20, 32, 72, 100, 112]), st.binary(min_size=4, max_size=8)
        ),
        st.tuples(st.just(72), st.integers(0, 31).map(lambda bits: struct.pack(">Q", bits))),
        st.tuples(st.just(8), st.integers(0, 600).map(lambda at: struct.pack(">QI", at, 11))),
    ),
    max_size=3,
)


def mutate(image: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    copy = bytearray(image)
    copy[512:523] = b"/etc/passwd"
    for offset, data in edits:
        copy[offset : offset + len(data)] = data
    return bytes(copy)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(edits=[], cut=512)
@given(edits=changes, cut=st.integers(0, 4096))
def test_no_bytes_crash_the_reader(plain: bytes, edits: list[tuple[int, bytes]], cut: int) -> None:
    mutated = mutate(plain, edits)[:cut]
    try:
        header = read_header(mutated, len(plain))
    except ImageError:
        return
    assert mutated[:4] == b"QFI\xfb"
    assert mutated[8:20] == bytes(12)
    assert header.version in (2, 3)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=changes)
def test_what_passes_names_no_other_file_to_qemu(
    plain: bytes, tmp_path: Path, edits: list[tuple[int, bytes]]
) -> None:
    mutated = mutate(plain, edits)
    try:
        read_header(mutated, len(mutated))
    except ImageError:
        return
    path = tmp_path / "mutated.qcow2"
    path.write_bytes(mutated)
    command = ["qemu-img", "info", "--output=json", "-f", "qcow2", str(path)]
    done = subprocess.run(command, check=False, capture_output=True)
    said = json.loads(done.stdout) if done.returncode == 0 else {}
    assert "backing-filename" not in said
    assert "data-file" not in said.get("format-specific", {}).get("data", {})
    assert not said.get("encrypted", False)
