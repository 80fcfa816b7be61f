"""What is read and written line by line is just what libyaml reads and writes."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.core import plain_yaml
from agent.core.ledger import dump, load
from agent.core.model import Json
from agent.core.parsing import parse

WORDS = (
    *(
        "yes",
        "No",
        "on",
        "null",
        "~",
        "true",
        "y",
        "=",
        "<<",
        ".inf",
        "",
        "-",
        "- a",
        "a: b",
        "a:b",
        "a:",
        "a #b",
        "a#b",
    ),
    *(
        "1",
        "-1",
        "1.5",
        "1e5",
        "0x1F",
        "010",
        "1:20",
        "1_000",
        "2023-11-14",
        "2023-11-14T22:13:20Z",
        "9.0.0",
        "100%",
        "10Gi",
    ),
    *(
        "52:fe:a2:f4:16:fa",
        "it's",
        'say "so"',
        "'",
        " a",
        "a ",
        "a  b",
        "two\nlines",
        "end\n",
        "\n",
        "tab\there",
        "\x85",
        "é",
        "🙂",
    ),
    *(
        "word " * 40,
        "w" * 200,
        "a, b",
        "[a]",
        "{a}",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a`",
        "?",
        "? a",
        "---",
        "...",
        "a\\b",
    ),
    *("9" * 30, "a - b", "/a/b", "$x", "^a", "aé b", "\ufeff"),
)
TEXTS = st.sampled_from(WORDS) | st.text(max_size=12) | st.text("abc019:'#-. ,?/", max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
MAPPINGS = st.dictionaries(TEXTS, VALUES, max_size=5)
LINES = st.builds(
    "{}{}{}".format,
    st.sampled_from(("", " ", "  ", "    ", "      ")),
    st.sampled_from(
        (
            "",
            "- ",
            "- - ",
            "-",
            "a: ",
            "b:",
            "- a: ",
            "- b:",
            "a : ",
            "on: ",
            "'a': ",
            "1: ",
            "<<: ",
            "kind: ",
        )
    ),
    st.sampled_from(
        (*WORDS, "'a'", "'it''s'", "'a", '"a"', "{}", "[]", "&x a", "*x", "# a", "aList", "|", ">-")
    ),
)


def whole(value: Json) -> str:
    """What libyaml alone makes of it."""
    text: str = yaml.dump(
        value,
        Dumper=plain_yaml._Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=False,
    )
    return text


@given(VALUES)
@example({"a": [[], {}, [1, [True, 1.0, 1]], {"b": {"c": "d"}, "e": [{}]}]})
@example({"a" * 90: "b c " * 7, "c": "b " * 58})
@example([-0.0, 0.0])
@example([0.0, -0.0])
@settings(max_examples=500)
def test_what_is_written_line_by_line_is_what_the_library_writes(value: Json) -> None:
    assert plain_yaml.dump(value) == whole(value)


@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize(
    "make", [lambda text: {text: 1}, lambda text: {"a": text}, lambda text: [text]]
)
def test_every_odd_text_is_written_as_the_library_writes_it(make, text: str) -> None:  # type: ignore[no-untyped-def]
    assert plain_yaml.dump(make(text)) == whole(make(text))


@pytest.mark.parametrize("length", range(100, 126))
def test_lines_are_folded_where_the_library_folds_them(length: int) -> None:
    for value in (
        {"key": "a " + "b" * length},
        {"key": ("ab " * 60)[:length]},
        {"a": [{"b": "it's " + "c d" * 40}]},
    ):
        assert plain_yaml.dump(value) == whole(value)


def agrees(data: bytes) -> bool:
    """True if lines sufficed; then the library has to read the same, without a doubt."""
    found = plain_yaml.read(data)
    if found is None:
        return False
    parsed = parse(data)
    assert not parsed.errors
    (document,) = parsed.documents
    assert not document.problems
    assert repr(document.value) == repr(found)  # 1, 1.0 and True are equal, and not the same
    return True


@given(st.lists(LINES, min_size=1, max_size=6))
@example(["a: b", "  - c"])
@example(["a: b", "c"])
@example(["kind: aList", "items:", "- a: 1"])
@settings(max_examples=2000)
def test_what_is_read_line_by_line_is_what_the_library_reads(lines: list[str]) -> None:
    agrees("\n".join([*lines, ""]).encode())


@given(MAPPINGS)
@settings(max_examples=300)
def test_what_was_written_is_read_alike_either_way(value: Json) -> None:
    agrees(dump(value))


def test_a_ledgers_file_needs_no_library() -> None:
    value = {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "metadata": {
            "creationTimestamp": "2023-11-14T22:13:20Z",
            "generation": 1,
            "labels": {},
            "name": "vm",
        },
        "spec": {
            "cpu": {"cores": 1, "coreFraction": "100%"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "a"}],
        },
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "message": "The guest's agent: is it there?"}
            ]
        },
    }
    data = dump(value)
    assert agrees(data)
    assert load(data) == value


def test_values_of_two_files_are_not_the_same_ones() -> None:
    one, other = plain_yaml.read(b"a: {}\nb: []\n"), plain_yaml.read(b"a: {}\nb: []\n")
    assert one is not None
    assert other is not None
    assert one["a"] is not other["a"]
    assert one["b"] is not other["b"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: 1\na: 2\n",
            "- a\n",
            "a:\n",
            "a: b",
            "\n",
            "a: b\n  c: d\n",
            "a: &x b\n",
            "a: !t b\n",
            "yes: a\n",
            "a: 'b\n",
            "a:\n- b\n c\n",
        ),
        *(
            "a: b\n---\na: b\n",
            "a: " + "9" * 30 + "\n",
            "a: é\n",
            "a:\tb\n",
            "a: b\r\n",
            "# a\na: b\n",
            "a: |\n  b\n",
            "kind: aList\nitems: []\n",
        ),
        "".join(f"{'  ' * depth}a:\n" for depth in range(40)) + "  " * 40 + "a: b\n",
        "a: b\n" + "".join(f"k{number}: v\n" for number in range(10_000)),
    ],
)
def test_what_is_not_plain_is_left_to_the_library(text: str) -> None:
    assert plain_yaml.read(text.encode()) is None
