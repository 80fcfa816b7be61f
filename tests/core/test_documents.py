from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.documents import MAX_BYTES, MAX_DEPTH, ParsedFile
from agent.core.parsing import parse, parse_json


def values(text: str) -> list[Any]:
    parsed = parse(text.encode())
    assert parsed.errors == ()
    assert [document.problems for document in parsed.documents] == [()] * len(parsed.documents)
    return [document.value for document in parsed.documents]


def error(data: bytes | str) -> tuple[int, str]:
    parsed = parse(data.encode() if isinstance(data, str) else data)
    assert len(parsed.errors) == 1
    return parsed.errors[0]


def problem(text: str) -> tuple[tuple[str | int, ...], str]:
    (document,) = parse(text.encode()).documents
    (found,) = document.problems
    return found


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("True", True),
        ("no", False),
        ("on", True),
        ("OFF", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("10%", "10%"),
        ("1Gi", "1Gi"),
        ("y", "y"),
        ("'12'", "12"),
        ('"true"', "true"),
        ('"a\\tb"', "a\tb"),
    ],
)
def test_plain_scalars_are_read_as_kubectl_reads_them(plain: str, value: Any) -> None:
    (read,) = values(f"a: {plain}\n")
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


@pytest.mark.parametrize(
    "plain",
    [
        "2024-01-31",
        "2024-01-31T10:00:00Z",
        "0755",
        "0o17",
        "0x1F",
        "1:30",
        "1_000",
        "0b11",
        "-",
        "1.2.3",
        "=",
    ],
)
def test_what_only_old_yaml_takes_for_something_else_stays_text(plain: str) -> None:
    assert values(f"a: {plain if plain != '-' else chr(39) + '-' + chr(39)}\n") == [{"a": plain}]


def test_json_is_read() -> None:
    value = {"a": [1, 2.5, True, None, "x\ny"], "b": {"c": "ü"}}
    assert values(json.dumps(value)) == [value]


def test_documents_are_separate_and_empty_ones_are_skipped() -> None:
    parsed = parse(b"---\n---\na: 1\n--- \n# nothing\n---\nb: 2\n...\n")
    assert [(document.value, document.line) for document in parsed.documents] == [
        ({"a": 1}, 3),
        ({"b": 2}, 7),
    ]
    assert parsed.errors == ()
    assert parse(b"") == ParsedFile(())


def test_every_field_knows_its_line() -> None:
    (document,) = parse(b"# head\na:\n  b:\n    - c: 1\n    -\n      d: 2\n").documents
    assert document.line == 2
    assert document.line_of(()) == 2
    assert document.line_of(("a", "b")) == 3
    assert document.line_of(("a", "b", 0, "c")) == 4
    assert document.line_of(("a", "b", 1, "d")) == 6
    assert document.line_of(("a", "missing", "deeper")) == 2
    assert document.line_of(("a", "b", 7)) == 3


def test_a_list_is_taken_apart_with_lines_and_problems_of_each_item() -> None:
    text = b"apiVersion: v1\nkind: List\nitems:\n- a: 1\n- b: 2\n  b: 3\n- kind: FooList\n  items:\n  - c: 4\n"
    parsed = parse(text)
    assert [(document.value, document.line) for document in parsed.documents] == [
        ({"a": 1}, 4),
        ({"b": 2}, 5),
        ({"c": 4}, 9),
    ]
    assert parsed.documents[1].problems == (
        (("b",), "is there twice, again in line 6: keep one of them"),
    )
    assert parsed.documents[1].line_of(("b",)) == 5
    assert values("kind: List\nitems: []\n") == []
    assert values("kind: List\nitems: [~, {a: 1}]\n") == [None, {"a": 1}]


def test_a_problem_around_a_lists_items_stops_the_file() -> None:
    line, message = error("kind: List\nitems: [{a: 1}]\nitems: [{b: 1}]\n")
    assert line == 1
    assert "is there twice, again in line 3" in message


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert values("\ufeffa: b\r\nc: |\r\n  x\r\n  y\r\n") == [{"a": "b", "c": "x\ny\n"}]


def test_aliases_and_merge_keys_are_followed() -> None:
    text = "base: &b {x: 1, y: 2}\nuse: *b\nmerged:\n  <<: *b\n  y: 3\nboth:\n  <<: [*b, {z: 4}]\n"
    assert values(text) == [
        {
            "base": {"x": 1, "y": 2},
            "use": {"x": 1, "y": 2},
            "merged": {"x": 1, "y": 3},
            "both": {"x": 1, "y": 2, "z": 4},
        }
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", ("b", "c"), "twice"),
        ("a: !!python/object:os.system {}\n", ("a",), "tag"),
        ("a: !!str 5\n", ("a",), "tag"),
        ("a: [1, !x []]\n", ("a", 1), "tag"),
        ("a: .nan\n", ("a",), "finite"),
        ("a: -.inf\n", ("a",), "finite"),
        ("a: 1e999\n", ("a",), "64 bits"),
        ("a: 9223372036854775808\n", ("a",), "64 bits"),
        ("a: " + "9" * 10_000 + "\n", ("a",), "64 bits"),
        ("a: {1: x}\n", ("a",), "text as keys"),
        ("on: x\n", (), "text as keys"),
        ('a: "\\x00"\n', ("a",), "control characters"),
        ('a: "\\e[31m"\n', ("a",), "control characters"),
        ("<<: 5\n", (), "merge key"),
    ],
)
def test_what_yaml_allows_and_a_manifest_does_not_is_told_with_its_path(
    text: str, path: tuple[str | int, ...], words: str
) -> None:
    found, message = problem(text)
    assert found == path
    assert words in message


def test_of_two_equal_keys_the_first_counts_and_the_rest_of_the_file_is_read() -> None:
    parsed = parse(b"a: 1\na: 2\n---\nb: 3\n")
    assert [document.value for document in parsed.documents] == [{"a": 1}, {"b": 3}]


def test_what_stands_there_again_is_kept_apart_each_time() -> None:
    (document,) = parse(b"a: {x: 1, x: 2}\nb: 1\na: 3\nb: 4\na: 5\n").documents
    assert document.value == {"a": {"x": 1}, "b": 1}
    assert document.again == ((("a",), {"x": 2}), ((), {"a": 3, "b": 4}), ((), {"a": 5}))
    listed = parse(b"kind: List\nitems:\n- {a: 1, a: 2}\n- {b: {c: 1, c: 2}}\n").documents
    assert [each.again for each in listed] == [(((), {"a": 2}),), ((("b",), {"c": 2}),)]


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a: 1\nb: [1,\n", 3, "not valid YAML"),
        (b"a: 1\n b: 2\n", 2, "not valid YAML"),
        (b"a:\n\tb: 1\n", 2, "tabs cannot indent"),
        (b"a: 1\n\xff\xfe\n", 2, "not UTF-8"),
        ("a: 1".encode("utf-16"), 1, "not UTF-8"),
        (b"a: 1\nb: \x07\n", 2, "control character U+0007"),
        (b"a: *nothing\n", 1, "alias"),
        (b"a: &a [*a]\n", 1, "alias"),
        (b"? [x]\n: y\n", 1, "keys must be text"),
        (b"%YAML 9.9\n---\na: 1\n", 1, "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(data: bytes, line: int, words: str) -> None:
    found, message = error(data)
    assert found == line
    assert words in message


def test_what_stands_before_the_error_is_kept() -> None:
    parsed = parse(b"a: 1\n---\nb: 2\n---\nc: [\n")
    assert [document.value for document in parsed.documents] == [{"a": 1}, {"b": 2}]
    assert parsed.errors[0][0] == 6


@pytest.mark.parametrize("bracket", [b"[", b"{a: ", b'{"a":', b"- "])
def test_nesting_is_bounded(bracket: bytes) -> None:
    assert "nested deeper" in error(bracket * 50_000)[1]


def test_nesting_up_to_the_bound_is_read() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).errors == ()
    assert "nested deeper" in error(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))[1]


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "through its aliases" in error("\n".join(lines))[1]


def test_aliases_of_a_long_text_count_as_if_they_were_written_out() -> None:
    assert (
        "through its aliases" in error(f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]")[1]
    )
    assert "aliases" in error(f"a: &a x\nb: [{', '.join(['*a'] * 2000)}]")[1]


def test_size_documents_and_values_are_bounded() -> None:
    assert "larger than" in error(b"a" * (10 * MAX_BYTES))[1]
    assert "documents" in error(b"---\na\n" * 6_000)[1]
    assert "values" in error(b"[" + b"a," * 200_000 + b"]")[1]


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
def test_no_bytes_raise(data: bytes) -> None:
    check(parse(data))


MARKS = st.sampled_from(
    [
        "a",
        "b:",
        ": ",
        "- ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "!!x ",
        "<<: ",
        "? ",
        "| ",
        "> ",
        "---\n",
        "...\n",
        '"',
        "'",
        "#",
        "1",
        "0x",
        ".inf",
        "\t",
        "%",
        "\r",
        "\\x00",
        "kind: List\nitems: ",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(MARKS, max_size=40).map("".join))
def test_no_yaml_like_text_raises(text: str) -> None:
    check(parse(text.encode()))


def check(parsed: ParsedFile) -> None:
    """Whatever comes out is JSON, and every problem has a line."""
    for document in parsed.documents:
        json.dumps(document.value, allow_nan=False)
        assert document.line >= 1
        for path, message in document.problems:
            assert document.line_of(path) >= document.line
            assert message
    for line, message in parsed.errors:
        assert line >= 0
        assert message


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs", "Co")), max_size=20
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc<", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES.filter(lambda value: value is not None))
def test_json_comes_back_as_it_was(value: Any) -> None:
    (document,) = parse(json.dumps(value, ensure_ascii=False).encode()).documents
    assert document.value == value
    assert document.problems == ()


# -- JSON -------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(JSON_VALUES.filter(lambda value: value is not None), max_size=3),
    st.booleans(),
    st.sampled_from((None, 1)),
)
def test_a_stream_of_json_comes_back_as_it_was(
    values: list[Any], ascii_only: bool, indent: int | None
) -> None:
    text = "\n".join(json.dumps(value, ensure_ascii=ascii_only, indent=indent) for value in values)
    parsed = parse_json(text.encode())
    assert [document.value for document in parsed.documents] == values
    assert parsed.errors == ()


def test_json_has_lines_as_yaml_has() -> None:
    parsed = parse_json(b'{\n "a": {"b": [\n1,\n2]}}\n\n{"c":\n3}')
    one, two = parsed.documents
    assert [one.line_of(path) for path in ((), ("a",), ("a", "b", 0), ("a", "b", 1))] == [
        1,
        2,
        3,
        4,
    ]
    assert (two.line, two.line_of(("c",))) == (6, 6)


def test_json_knows_characters_beyond_the_basic_plane_and_no_halves_of_one() -> None:
    (document,) = parse_json(rb'{"a": "\ud83d\ude00", "b": "\ud83d"}').documents
    assert document.value == {"a": "\U0001f600", "b": ""}
    ((path, message),) = document.problems
    assert path == ("b",)
    assert "halves" in message


def test_of_two_equal_keys_in_json_the_first_counts() -> None:
    (document,) = parse_json(b'{"a": 1,\n"a": 2}').documents
    assert document.value == {"a": 1}
    assert document.again == (((), {"a": 2}),)
    assert "again in line 2" in document.problems[0][1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"a": 1,}', 1, "a key in double quotes is missing before `}`"),
        ('{"a"\n1}', 2, "`:` is missing before `1`"),
        ("[1\n2]", 2, "`,` or `]` is missing before `2`"),
        ("[1,]", 1, "a value is missing before `]`"),
        ('{"a":', 1, "a value is missing before the end of the file"),
        ('{"a": 1', 1, "`,` or `}` is missing before the end of the file"),
        ("{a: 1}", 1, "`a: 1}` is not expected"),
        ("{'a': 1}", 1, "is not expected"),
        ("[01]", 1, "is not expected"),
        ("[.5]", 1, "is not expected"),
        ("[NaN]", 1, "is not expected"),
        ("[truely]", 1, "is not expected"),
        ('["a\\x"]', 1, "is not expected"),
        ('["open', 1, "is not expected"),
        ("{} # comment", 1, "is not expected"),
        ("}", 1, "a value is missing before `}`"),
        ('{1: "x"}', 1, "a key in double quotes is missing before `1`"),
    ],
)
def test_what_is_no_json_says_where_and_why(text: str, line: int, words: str) -> None:
    ((found, message),) = parse_json(text.encode()).errors
    assert found == line
    assert message.startswith("is not valid JSON: ")
    assert words in message


def test_json_is_read_within_the_same_bounds() -> None:
    def refused(text: str) -> str:
        ((_, message),) = parse_json(text.encode()).errors
        return message

    assert "nested deeper" in refused("[" * 50_000)
    assert "nested deeper" in refused('{"a":' * 50_000)
    assert "values" in refused("[" + "1," * 200_000 + "1]")
    assert "documents" in refused("1 " * 6_000)
    assert "larger than" in refused('"' + "a" * MAX_BYTES + '"')
    assert parse_json(b'"' + b"a" * 900_000 + b'"').errors == ()
    (document,) = parse_json(b"[1e999, 99999999999999999999]").documents
    assert [message[:30] for _, message in document.problems] == [
        "must be a number within 64 bit"
    ] * 2


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=200) | st.text('{}[],:"\\u01eE.-+ntf \n\ufeff', max_size=60).map(str.encode)
)
def test_no_bytes_raise_as_json(data: bytes) -> None:
    check(parse_json(data))


def steps(data: bytes) -> int:
    """Lines of Python that reading a file takes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parse(data)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(lambda n: "kind: A\n" * n, id="one key again and again"),
        pytest.param(
            lambda n: "kind: List\nitems:\n" + "- {a: 1, a: 2}\n" * n, id="a key again in each item"
        ),
    ],
)
def test_keys_that_are_there_again_cost_no_more_than_others(text: Callable[[int], str]) -> None:
    """A file within the limits would otherwise keep the agent busy for most of a minute."""
    assert steps(text(800).encode()) < 3 * steps(text(400).encode())


def test_what_is_there_again_is_kept_by_its_turn() -> None:
    (document,) = parse(b"a: 1\nb: 2\na: 3\na: 4\nb: 5\na: 6\n").documents
    assert [part for _, part in document.again] == [{"a": 3, "b": 5}, {"a": 4}, {"a": 6}]
