"""A merge of two versions of a file is the one that Git makes."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from agent.core.merge import alike, merged

BASE = b"one\ntwo\nthree\nfour\nfive\nsix\n"
CASES = {
    "nothing": (BASE, BASE),
    "one side": (BASE.replace(b"two", b"2"), BASE),
    "far apart": (BASE.replace(b"one", b"1"), BASE.replace(b"six", b"6")),
    "one line between": (BASE.replace(b"one", b"1"), BASE.replace(b"three", b"3")),
    "side by side": (BASE.replace(b"one", b"1"), BASE.replace(b"two", b"2")),
    "the same line": (BASE.replace(b"one", b"1"), BASE.replace(b"one", b"I")),
    "the same change": (BASE.replace(b"one", b"1"), BASE.replace(b"one", b"1")),
    "added at the end": (BASE + b"seven\n", BASE + b"eight\n"),
    "added and removed": (BASE + b"seven\n", BASE.replace(b"one\n", b"")),
    "without a last newline": (BASE.rstrip(), BASE.replace(b"one", b"1")),
    "all removed": (b"", BASE.replace(b"one", b"1")),
}


def by_git(folder: Path, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    for name, content in (("base", base), ("ours", ours), ("theirs", theirs)):
        (folder / name).write_bytes(content)
    command = ["git", "merge-file", "-p", "ours", "base", "theirs"]
    done = subprocess.run(command, cwd=folder, capture_output=True)
    assert done.returncode < 128, done.stderr
    return done.stdout if done.returncode == 0 else None


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_git_merges(tmp_path: Path, name: str) -> None:
    ours, theirs = CASES[name]
    assert merged(BASE, ours, theirs) == by_git(tmp_path, BASE, ours, theirs)
    assert merged(BASE, theirs, ours) == by_git(tmp_path, BASE, theirs, ours)


@pytest.mark.parametrize(
    ("base", "ours"),
    [
        (b"one\np\nq\np\n", b"1\np\np\n"),  # of equal lines the last ones
        (b"one\np\np\n", b"1\np\nq\np\n"),
        (b"one\ntwo\n", b"two\none\n"),
        (b"one\np\np\n", b"one\np\n"),
        (b"one\np\n", b"one\np\np\n"),
    ],
)
def test_what_one_side_alone_changes_is_as_that_side_has_it(base: bytes, ours: bytes) -> None:
    assert merged(base, ours, base) == merged(base, base, ours) == ours


def test_a_line_among_many_equal_ones_is_merged_as_git_does(tmp_path: Path) -> None:
    """difflib alone would leave lines out of its sight that stand there often."""
    same = b"x\n" * 300
    base, ours = b"one\n" + same + b"two\n", b"1\n" + same + b"2\n"
    theirs = base.replace(b"x\n" * 200, b"x\n" * 100 + b"new\n" + b"x\n" * 100)
    found = merged(base, ours, theirs)
    assert found is not None
    assert found == by_git(tmp_path, base, ours, theirs)


def test_edits_of_different_lines_are_merged_as_git_does(tmp_path: Path) -> None:
    """Of files whose lines are all different, for which there is one way to see a change."""
    clean = 0
    for seed in range(60):
        chance = random.Random(seed)
        base = [b"line %d\n" % number for number in range(12)]
        sides = [_edited(base, chance, name) for name in (b"ours", b"theirs")]
        expected = by_git(tmp_path, b"".join(base), *sides)
        assert merged(b"".join(base), *sides) == expected, seed
        clean += expected is not None
    assert 10 < clean < 50


def _edited(base: list[bytes], chance: random.Random, name: bytes) -> bytes:
    found = list(base)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(found))
        match chance.choice(("replace", "remove", "insert")):
            case "replace":
                found[at] = b"%s %d\n" % (name, chance.randrange(1000))
            case "remove":
                del found[at]
            case _:
                found.insert(at, b"%s %d\n" % (name, chance.randrange(1000)))
    return b"".join(found)


def test_a_file_with_half_of_its_lines_is_the_same_one() -> None:
    assert alike(BASE, BASE.replace(b"one", b"1"))
    assert alike(BASE, b"one\ntwo\nthree\n" + b"other\n" * 3)
    assert not alike(BASE, b"one\ntwo\n" + b"other\n" * 4)
    assert alike(b"one\n", b"one\n")
    assert not alike(BASE, b"other\n" * 6)
    assert not alike(b"", b"")


def test_the_same_line_again_and_again_costs_no_hours() -> None:
    many = b"a\n" * 500_000
    ours, theirs = b"x\n" + many + b"y\n", many.replace(b"a\n", b"b\n", 1) + b"z\n"
    assert merged(many, ours, many) == ours
    assert merged(many, ours, theirs) is None
