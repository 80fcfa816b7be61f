from __future__ import annotations

import pytest

from agent.core.spelling import nearest

WORDS = ("runPolicy", "VirtualMachine", "VirtualDisk", "--timeout", "get")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("run_policy", "runPolicy"),
        ("RUNPOLICY", "runPolicy"),
        ("VirtualMachin", "VirtualMachine"),
        ("virtual-disk", "VirtualDisk"),
        ("VirtualDisks", "VirtualDisk"),
        ("--timout", "--timeout"),
        ("gte", "get"),
        ("Spaceship", None),
        ("", None),
    ],
)
def test_the_nearest_word_is_the_one_that_was_meant(word: str, meant: str | None) -> None:
    assert nearest(word, WORDS) == meant


def test_a_word_longer_than_any_name_is_compared_with_none() -> None:
    assert nearest("VirtualMachine" * 10_000, WORDS) is None
