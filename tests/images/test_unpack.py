from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import sys
from pathlib import Path

import pytest

from agent.images.errors import ImageError
from agent.images.unpack import CHUNK, unpack
from tests.images.conftest import LIMIT, MIB, never, nothing_left

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = random.Random(5).randbytes(MIB) + bytes(MIB) + b"end"


def zstd_compress(content: bytes) -> bytes:
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESS = [gzip.compress, lzma.compress, zstd_compress]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "packed"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(CONTENT),
        gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]),
        lzma.compress(CONTENT),
        lzma.compress(CONTENT[:CHUNK]) + lzma.compress(CONTENT[CHUNK:]),
        lzma.compress(CONTENT[:9]) + bytes(CHUNK * 2) + lzma.compress(CONTENT[9:]) + bytes(8),
        zstd_compress(CONTENT),
        zstd_compress(CONTENT[:1000]) + zstd_compress(CONTENT[1000:]),
    ],
    ids=["gzip", "gzip-members", "xz", "xz-streams", "xz-padding", "zstd", "zstd-frames"],
)
def test_compressed_files_are_unpacked(tmp_path: Path, spool: Path, packed: bytes) -> None:
    got = unpack(written(tmp_path, packed), spool, cancelled=never, limit=LIMIT)
    assert got is not None
    assert got.path.read_bytes() == CONTENT
    assert (got.size, got.digest) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("data", [b"", b"QFI\xfb", CONTENT])
def test_other_files_are_left_alone(tmp_path: Path, spool: Path, data: bytes) -> None:
    assert unpack(written(tmp_path, data), spool, cancelled=never, limit=LIMIT) is None
    assert nothing_left(spool)


@pytest.mark.parametrize("compress", COMPRESS)
def test_a_bomb_stops_at_the_limit(tmp_path: Path, spool: Path, compress: object) -> None:
    bomb = compress(bytes(8 * MIB))  # type: ignore[operator]
    with pytest.raises(ImageError) as caught:
        unpack(written(tmp_path, bomb), spool, cancelled=never, limit=4 * MIB)
    assert (caught.value.reason, caught.value.retry) == ("ImageTooLarge", False)
    assert nothing_left(spool)


@pytest.mark.parametrize("compress", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "garbled", "head-only"])
def test_a_damaged_file_is_no_image(
    tmp_path: Path, spool: Path, compress: object, damage: str
) -> None:
    packed = bytearray(compress(CONTENT))  # type: ignore[operator]
    if damage == "garbled":
        packed[len(packed) // 2] ^= 0xFF
    else:
        del packed[len(packed) // 2 if damage == "cut" else 8 :]
    with pytest.raises(ImageError) as caught:
        unpack(written(tmp_path, bytes(packed)), spool, cancelled=never, limit=LIMIT)
    assert (caught.value.reason, caught.value.retry) == ("NotAnImage", False)
    assert nothing_left(spool)


def test_a_dictionary_that_takes_too_much_memory_is_refused(tmp_path: Path, spool: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 * MIB}]
    packed = lzma.compress(b"x", filters=filters)
    with pytest.raises(ImageError) as caught:
        unpack(written(tmp_path, packed), spool, cancelled=never, limit=LIMIT)
    assert caught.value.reason == "NotAnImage"


def test_a_window_that_takes_too_much_memory_is_refused(tmp_path: Path, spool: Path) -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 28}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(b"x" * MIB) + compressor.flush()
    with pytest.raises(ImageError) as caught:
        unpack(written(tmp_path, packed), spool, cancelled=never, limit=LIMIT)
    assert caught.value.reason == "NotAnImage"


def test_other_compressions_are_named(tmp_path: Path, spool: Path) -> None:
    packed = bz2.compress(CONTENT)
    with pytest.raises(ImageError, match="bzip2") as caught:
        unpack(written(tmp_path, packed), spool, cancelled=never, limit=LIMIT)
    assert (caught.value.reason, caught.value.retry) == ("UnsupportedFormat", False)


def test_cancelling_leaves_nothing(tmp_path: Path, spool: Path) -> None:
    packed = written(tmp_path, gzip.compress(CONTENT))
    with pytest.raises(ImageError) as caught:
        unpack(packed, spool, cancelled=lambda: True, limit=LIMIT)
    assert caught.value.reason == "Cancelled"
    assert nothing_left(spool)
