"""Seed media: small ISO 9660 images from which a guest configures itself at its first start."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from agent.images.errors import ImageError
from agent.images.spool import MIB

NOCLOUD_LABEL = "cidata"
SYSPREP_LABEL = "unattend"
"""Windows Setup looks into the root of every read-only medium, whatever its label."""

SECTOR = 2048
FIRST_DESCRIPTOR = 16
ROOT_RECORD = slice(156, 190)
RECORD_DATE = slice(18, 25)
VOLUME_DATES = slice(813, 881)
EPOCH = bytes((70, 1, 1, 0, 0, 0, 0))
"""1970-01-01 UTC as a directory record writes it."""
EPOCH_DIGITS = b"1970010100000000\0"
UNSET_DIGITS = b"0000000000000000\0"
META_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


NOTHING_MORE: Mapping[str, bytes] = {}


def nocloud(
    meta_data: Mapping[str, str],
    user_data: str | bytes,
    more: Mapping[str, bytes] = NOTHING_MORE,
) -> bytes:
    """A NoCloud medium of 1 MiB, or as many whole MiB as it takes: equal content gives equal bytes.
    `more` are its other files by name: network-config, vendor-data.

    `user-data` holds `user_data` byte for byte (UTF-8). `meta-data` has one line `key: "value"`
    a key, which is YAML. Linux reads the names by Rock Ridge, Windows by Joliet.
    """
    files = {
        "meta-data": _meta_data(meta_data),
        "user-data": user_data.encode() if isinstance(user_data, str) else user_data,
        **more,
    }
    return _medium(NOCLOUD_LABEL, files)


def sysprep(files: Mapping[str, bytes]) -> bytes:
    """A medium with answer files (unattend.xml, autounattend.xml) in its root, like `nocloud`
    in size and determinism.
    """
    return _medium(SYSPREP_LABEL, files)


def _meta_data(values: Mapping[str, str]) -> bytes:
    for key in values:
        if not META_KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of meta-data")
    return "".join(
        f"{key}: {json.dumps(values[key], ensure_ascii=False)}\n" for key in sorted(values)
    ).encode()


def _medium(label: str, files: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    iso = pycdlib.PyCdlib()
    try:
        iso.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
        for number, (name, content) in enumerate(sorted(files.items())):
            iso.add_fp(
                io.BytesIO(content),
                len(content),
                f"/FILE{number:04}.;1",
                rr_name=name,
                joliet_path=f"/{name}",
                file_mode=0o100444,
            )
        iso.write_fp(written)
    except PyCdlibException as error:
        raise ImageError(
            "SeedFailed", f"the seed medium cannot be made: {error}", retry=False
        ) from error
    finally:
        iso.close()
    image = bytearray(written.getvalue())
    _pin_dates(image)
    image.extend(bytes(-len(image) % MIB))
    return bytes(image)


def _pin_dates(image: bytearray) -> None:
    """Replace every date, as ECMA-119 and Rock Ridge place them, so that neither the clock nor
    the time zone shows.
    """
    for start in _descriptors(image):
        dates = start + VOLUME_DATES.start
        # Creation and modification; the medium neither expires nor becomes valid later.
        image[dates : dates + 68] = EPOCH_DIGITS * 2 + UNSET_DIGITS * 2
        root = start + ROOT_RECORD.start
        image[root + RECORD_DATE.start : root + RECORD_DATE.stop] = EPOCH
        extent = int.from_bytes(image[root + 2 : root + 6], "little") * SECTOR
        length = int.from_bytes(image[root + 10 : root + 14], "little")
        for record in _records(image, extent, extent + length):
            image[record + RECORD_DATE.start : record + RECORD_DATE.stop] = EPOCH
            _pin_time_stamps(image, record)


def _descriptors(image: bytearray) -> Iterator[int]:
    """Offsets of the primary and the Joliet volume descriptor."""
    start = FIRST_DESCRIPTOR * SECTOR
    while image[start] != 255:
        if image[start] in (1, 2):
            yield start
        start += SECTOR


def _records(image: bytearray, start: int, end: int) -> Iterator[int]:
    while start < end:
        length = image[start]
        if length == 0:  # a record never crosses a sector
            start += SECTOR - start % SECTOR
            continue
        yield start
        start += length


def _pin_time_stamps(image: bytearray, record: int) -> None:
    """Rock Ridge's TF entry: signature, length, version, flags, then dates of seven bytes."""
    end = record + image[record]
    name_length = image[record + 32]
    entry = record + 33 + name_length + (1 - name_length % 2)
    while entry + 4 <= end and image[entry + 2] >= 4:
        length = image[entry + 2]
        if image[entry : entry + 2] == b"TF":
            image[entry + 5 : entry + length] = EPOCH * ((length - 5) // len(EPOCH))
        entry += length
