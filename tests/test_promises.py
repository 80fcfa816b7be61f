"""The promises that tests name and those that promises.md describes are the same ones."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
ROW = re.compile(r"\| (S[1-9][0-9]*) \| (\S.*\S) \|")


def described() -> list[tuple[str, str]]:
    """Number and words of every row, in the order of the file."""
    lines = (TESTS / "promises.md").read_text(encoding="utf-8").splitlines()
    return [(found[1], found[2]) for line in lines if (found := ROW.fullmatch(line))]


def marks(source: str) -> Iterator[ast.expr]:
    """Every argument of every `promise` mark, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
            yield from node.args
            yield from (keyword.value for keyword in node.keywords)


def named() -> dict[str, set[str]]:
    """The files that name a promise, by its number; what is no plain text stands as it is written."""
    found: dict[str, set[str]] = {}
    for file in sorted(TESTS.rglob("*.py")):
        for argument in marks(file.read_text(encoding="utf-8")):
            plain = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            number = ast.literal_eval(argument) if plain else ast.unparse(argument)
            found.setdefault(number, set()).add(str(file.relative_to(TESTS)))
    return found


def test_what_a_test_names_is_described() -> None:
    numbers = {number for number, _ in described()}
    assert {number: files for number, files in named().items() if number not in numbers} == {}


def test_what_is_described_is_named_by_a_test() -> None:
    proved = named()
    assert [number for number, _ in described() if number not in proved] == []


def test_every_number_and_every_sentence_stands_once() -> None:
    for column in zip(*described(), strict=True):
        assert [each for each, count in Counter(column).items() if count > 1] == []


def test_marks_are_found_wherever_they_stand() -> None:
    source = """
pytestmark = pytest.mark.promise("S1")
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.promise("S2", "S3"))])
def test() -> None: ...
"""
    assert [ast.literal_eval(each) for each in marks(source)] == ["S1", "S2", "S3"]
