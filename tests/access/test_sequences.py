from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.access.sequences import Filter, words

HARMLESS = [
    b"linux-vm login: ",
    "größe “quoted” 漢字\r\n".encode(),
    b"\x1b[1;31mred\x1b[0m",
    b"\x1b[?1049h\x1b[2J\x1b[10;5H",
    b"\x1b[6n",  # where the cursor is: line editors ask it
    b"\x1b(B\x1b7\x1b8",
    "\u00a0\u00c2".encode(),
]
REACHING = [
    b"\x1b]52;c;cm0gLXJm\x07",
    b"\x1b]0;title\x1b\\",
    b"\x1bP$qm\x1b\\",
    b"\x1b_Gi=1\x1b\\",
    b"\x1b^x\x1b\\",
    b"\x1bXx\x1b\\",
    b"\x1b[21t",
    b"\x1b[3;0;0t",
    "\u009d52;c;cm0=\u009c".encode(),
    "\u009b21t".encode(),
]


def passed(data: bytes) -> bytes:
    return Filter().feed(data)


@pytest.mark.parametrize("data", HARMLESS)
def test_text_colours_and_the_cursor_pass_as_they_are(data: bytes) -> None:
    assert passed(data) == data


@pytest.mark.parametrize("data", REACHING)
def test_what_reaches_further_than_the_text_is_left_out(data: bytes) -> None:
    assert passed(b"before" + data + b"after") == b"before\x18after"


@pytest.mark.parametrize("outer", REACHING)
@pytest.mark.parametrize("inner", REACHING)
def test_nothing_comes_together_from_what_stood_around(outer: bytes, inner: bytes) -> None:
    for at in range(1, len(outer)):
        left = passed(outer[:at] + inner + outer[at:])
        assert passed(left) == left
        assert b"\x1b]" not in left
        assert b"\x1bP" not in left


@given(st.lists(st.sampled_from([*HARMLESS, *REACHING]), max_size=6), st.data())
def test_it_does_not_matter_where_the_pieces_end(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    filter_, said, at = Filter(), b"", 0
    while at < len(whole):
        step = data.draw(st.integers(1, len(whole) - at))
        said += filter_.feed(whole[at : at + step])
        at += step
    assert said == passed(whole)


def test_a_text_without_end_is_not_kept() -> None:
    filter_ = Filter()
    for _ in range(100):
        assert filter_.feed(b"\x1b]0;" + b"x" * 1000) == b""
    assert len(filter_._held) <= 5000
    assert filter_.feed(b"\x07seen") == b"\x18seen"


def test_what_was_said_a_while_ago_is_bare_text() -> None:
    said = b"a\x1b[31mb\x1b[6n\x1b[c\x1b]0;t\x07c\x1b(0\r\n\x05\x08d\x1b7\xc2\x9b6n"
    assert words(said) == b"abc\r\n\x08d"
    assert words("größe\r\n\tzwei".encode()) == "größe\r\n\tzwei".encode()
