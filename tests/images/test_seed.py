from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path

import pycdlib
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.images.inspect import inspect
from agent.images.seed import nocloud, sysprep
from tests.images.conftest import MIB

META = {"instance-id": "7f0c", "local-hostname": "linux-vm"}


def content(image: bytes, name: str, view: str = "rr_path") -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    out = io.BytesIO()
    iso.get_file_from_iso_fp(out, **{view: f"/{name}"})
    iso.close()
    return out.getvalue()


def names(image: bytes) -> set[str]:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    found = {
        child.rock_ridge.name().decode()
        for child in iso.list_children(rr_path="/")
        if not child.is_dot() and not child.is_dotdot()
    }
    iso.close()
    return found


def label(image: bytes, folder: Path) -> str:
    path = folder / "seed"
    path.write_bytes(image)
    command = ["blkid", "-p", "-s", "LABEL", "-s", "TYPE", "-o", "value", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.promise("S206")
def test_a_seed_is_one_mebibyte_labelled_for_nocloud(tmp_path: Path) -> None:
    image = nocloud(META, "#cloud-config\n")
    assert len(image) == MIB
    assert sorted(label(image, tmp_path).split()) == ["cidata", "iso9660"]
    assert inspect(tmp_path / "seed").format == "iso"
    assert names(image) == {"meta-data", "user-data"}


@pytest.mark.parametrize("view", ["rr_path", "joliet_path"])
@pytest.mark.parametrize(
    "text",
    [
        '#cloud-config\nfinal_message: "up after $UPTIME seconds, ${HOME} {{ x }} %s \\\\ `id`"\n',
        "",
        "no newline at the end",
        "\r\n\ttabs, CR, Ünicode 🙂 \x00\n\n",
    ],
)
def test_user_data_arrives_byte_for_byte(text: str, view: str) -> None:
    image = nocloud(META, text)
    assert content(image, "user-data", view) == text.encode()
    assert yaml.safe_load(content(image, "meta-data", view)) == META


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=10_000),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])),
)
def test_any_content_arrives(data: bytes, hostname: str) -> None:
    image = nocloud({"local-hostname": hostname}, data)
    assert content(image, "user-data") == data
    assert yaml.safe_load(content(image, "meta-data")) == {"local-hostname": hostname}


def test_meta_data_has_one_line_a_key_in_order() -> None:
    image = nocloud({"b": 'say "x": y\n', "a": "no"}, "")
    assert content(image, "meta-data") == b'a: "no"\nb: "say \\"x\\": y\\n"\n'
    with pytest.raises(ValueError):
        nocloud({"a\nb": "x"}, "")


def test_equal_content_gives_equal_bytes_at_any_time_and_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = nocloud(META, "text"), sysprep({"unattend.xml": b"<x/>"})
    try:
        for clock, zone in ((0, "UTC0"), (1_700_000_000, "X-9:30"), (4_000_000_000, "Y8")):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            monkeypatch.setattr(time, "time", lambda clock=clock: clock)
            assert (nocloud(META, "text"), sysprep({"unattend.xml": b"<x/>"})) == first
    finally:
        monkeypatch.undo()
        time.tzset()
    assert nocloud(META, "texT") != first[0]


def test_a_seed_grows_by_whole_mebibytes() -> None:
    data = b"x" * MIB
    image = nocloud(META, data)
    assert len(image) == 2 * MIB
    assert content(image, "user-data") == data


def test_answer_files_lie_in_the_root_under_their_windows_names(tmp_path: Path) -> None:
    image = sysprep({"unattend.xml": b"<a/>", "autounattend.xml": b"<b/>"})
    assert len(image) == MIB
    assert sorted(label(image, tmp_path).split()) == ["iso9660", "unattend"]
    assert content(image, "unattend.xml", "joliet_path") == b"<a/>"
    assert content(image, "autounattend.xml", "joliet_path") == b"<b/>"
    assert names(image) == {"unattend.xml", "autounattend.xml"}
