"""What the files of a commit ask for together, all at once or one after another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.assembly import amend, assemble
from agent.core.manifests import FileResult
from agent.core.model import Desired, Key, Manifest, Meant, Problem

A, B, C = (Key("VirtualDisk", "lab", name) for name in "abc")


def manifest(key: Key, line: int = 1) -> Manifest:
    return Manifest(key, {}, {}, {}, line)


def holding(*keys: Key) -> FileResult:
    return FileResult(manifests=tuple(manifest(key) for key in keys))


def problem(path: str, message: str = "wrong") -> Problem:
    return Problem(path, 3, "", "", message)


def twice(path: str, key: Key, other: str, line: int = 1) -> Problem:
    message = f"is declared in {other} too: neither counts until one is gone"
    return Problem(path, line, str(key), "metadata.name", message)


def test_all_files_are_put_together() -> None:
    files = [
        ("b", FileResult((manifest(B),), problems=(problem(""),), ignored=(problem("", "noted"),))),
        ("a", FileResult((manifest(A),), problems=(problem(""),), broken=True)),
        ("c", FileResult(refused=((C, 9),), meant=((Meant(None, None, "x"), 4),))),
        ("d", FileResult(meant=((Meant(None, None, "x"), 5),), ignored=(problem("", "noted"),))),
    ]
    assert assemble("r", files) == Desired(
        "r",
        {A: manifest(A), B: manifest(B)},
        {A: "a", B: "b"},
        frozenset({C}),
        (problem("a"), problem("b")),
        (problem("b", "noted"), problem("d", "noted")),
        ("a",),
        {Meant(None, None, "x"): "c:4"},
    )


@pytest.mark.parametrize("refused", [False, True])
def test_of_two_for_one_name_neither_counts(refused: bool) -> None:
    again = FileResult(refused=((A, 1),)) if refused else holding(A)
    found = assemble("r", [("a", holding(A, B)), ("b", again), ("c", holding(C))])
    assert set(found.manifests) == set(found.paths) == {B, C}
    assert found.invalid == {A}
    assert found.problems == (twice("a", A, "b:1"), twice("b", A, "a:1"))


def test_of_three_for_one_name_each_names_another_one() -> None:
    both = FileResult(manifests=(manifest(A, 1), manifest(A, 7)))
    found = assemble("r", [("a", both), ("b", holding(A))])
    assert found.problems == (
        twice("a", A, "a:7"),
        twice("a", A, "a:1", line=7),
        twice("b", A, "a:1"),
    )


BEFORE = assemble("r", [("a", holding(A)), ("b", holding(B))])
SPOILED = replace(holding(C), problems=(problem(""),))


@pytest.mark.parametrize(
    ("gone", "new", "files"),
    [
        ([], [], {A: "a", B: "b"}),
        ([("a", holding(A))], [], {B: "b"}),
        ([], [("c", holding(C))], {A: "a", B: "b", C: "c"}),
        ([("a", holding(A))], [("c", holding(A))], {A: "c", B: "b"}),
        ([("a", holding(A))], [("a", holding(A, C))], {A: "a", B: "b", C: "a"}),
        ([("a", holding(A)), ("b", holding(B))], [("c", FileResult())], {}),
    ],
)
def test_what_came_and_went_is_as_if_all_were_put_together(
    gone: list[tuple[str, FileResult]], new: list[tuple[str, FileResult]], files: dict[Key, str]
) -> None:
    found = amend(BEFORE, "s", gone, new)
    assert found == Desired("s", {key: manifest(key) for key in files}, files)
    assert set(BEFORE.manifests) == {A, B}  # it is left as it was


@pytest.mark.parametrize(
    ("gone", "new"),
    [
        ([("a", replace(holding(A), problems=(problem(""),)))], []),
        ([("a", replace(holding(A), ignored=(problem(""),)))], []),
        ([("a", FileResult(refused=((C, 1),)))], []),
        ([("x", holding(A))], []),  # another file has it
        ([("x", holding(C))], []),  # it did not count
        ([], [("c", SPOILED)]),
        ([], [("c", replace(holding(C), broken=True))]),
        ([], [("c", holding(A))]),  # declared twice
        ([], [("c", holding(C, C))]),
    ],
)
def test_only_all_files_together_tell_where_something_is_wrong(
    gone: list[tuple[str, FileResult]], new: list[tuple[str, FileResult]]
) -> None:
    assert amend(BEFORE, "s", gone, new) is None


def test_what_is_invalid_already_is_looked_at_with_all_files() -> None:
    before = replace(BEFORE, invalid=frozenset({C}))
    assert amend(before, "s", [], [("c", holding(C))]) is None
