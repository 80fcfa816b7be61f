from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.addresses import bare, completed, has_host, hidden, is_hidden

ADDRESSES = {
    "https://h/p": "https://h/p",
    "https://h:8443/p/q.img": "https://h:8443/p/q.img",
    "https://u:p@h/p": "https://***@h/p",
    "https://token@h/p": "https://***@h/p",
    "https://u:p@ss@h/p": "https://***@h/p",
    "https://h/p?token=1": "https://h/p?***",
    "https://h/p?": "https://h/p",
    "https://h?a=b": "https://h?***",
    "https://h/p#part": "https://h/p#***",
    "https://u:p@[::1]:80/p?a#b": "https://***@[::1]:80/p?***",
    "https://u:p/w@h/p": "https://***",
    "https://u:1/w@h/p": "https://u:1/w@h/p",
    "no address": "***",
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_what_is_secret_is_left_out(address: str, shown: str) -> None:
    assert hidden(address) == shown


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_known_to_lack_something(address: str) -> None:
    shown = hidden(address)
    assert is_hidden(shown) is ("***" in shown and shown != "***")
    assert not is_hidden(address)


def test_addresses_are_the_same_whoever_asks() -> None:
    same = ("https://h:1/p", "https://u@h:1/p", "https://***@h:1/p?***", "https://h:1/p?a#b")
    assert {bare(each) for each in same} == {"https://h:1/p"}
    assert bare("https://h/p") != bare("https://h/q")


PART = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#@"))


@given(user=PART, query=st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_no_secret_shows_and_what_is_hidden_stays_so(user: str, query: str) -> None:
    shown = hidden(f"https://{user}@h:1/p?{query}")
    assert shown in (
        "https://h:1/p",
        "https://***@h:1/p",
        "https://***@h:1/p?***",
        "https://h:1/p?***",
    )
    assert hidden(shown) == shown


@pytest.mark.parametrize(
    ("address", "given", "whole"),
    [
        ("https://h/p", ("u", "p@s:s/", ""), "https://u:p%40s%3As%2F@h/p"),
        ("https://old@h/p?a=1#f", ("", "", "sig=2"), "https://old@h/p?a=1&sig=2#f"),
        ("https://old@h/p", ("u", "p", "?sig=2"), "https://u:p@h/p?sig=2"),
        ("https://h/p?", ("", "", ""), "https://h/p"),
    ],
)
def test_an_address_is_completed(address: str, given: tuple[str, str, str], whole: str) -> None:
    assert completed(address, *given) == whole


@pytest.mark.parametrize(
    ("address", "has"),
    [
        ("https://h", True),
        ("https://u:p@[::1]:65535/", True),
        ("https://h:/", True),
        ("https:///p", False),
        ("https://u@/p", False),
        ("https://h:65536/", False),
        ("https://h:x/", False),
        ("https://u:p/w@h/", False),
        ("https://[]/", False),
    ],
)
def test_a_host_is_named_or_not(address: str, has: bool) -> None:
    assert has_host(address) is has
