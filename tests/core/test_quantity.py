from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.quantity import LARGEST, format_bytes, format_milli, parse, same, to_bytes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        ("1024Mi", 2**30),
        ("10G", 10**10),
        ("1k", 1000),
        ("100m", "0.1"),
        ("1500m", "1.5"),
        ("250u", "0.00025"),
        ("3n", "0.000000003"),
        ("1e3", 1000),
        ("1E3", 1000),
        ("2E", 2 * 10**18),
        ("1Ei", 2**60),
        (".5", "0.5"),
        ("5.", 5),
        ("+7", 7),
        ("-1Ki", -1024),
        ("0", 0),
        (12, 12),
        ("12e-1", "1.2"),
    ],
)
def test_reads_what_kubernetes_reads(text: str | int, number: int | str) -> None:
    assert parse(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1GiB",
        "1 Gi",
        "Gi",
        "1gi",
        "1K",
        "1i",
        "--1",
        "1e",
        "1e1.5",
        "0x10",
        "1_000",
        "1Gi\n",
        "NaN",
        "inf",
        "\u0661",
    ],
)
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="must be a quantity such as"):
        parse(text)


@pytest.mark.parametrize("text", ["8Ei", "9223372036854775808", "1e99", "10E", "9" * 60, 2**63])
def test_refuses_what_is_beyond_64_bits(text: str | int) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        parse(text)


@pytest.mark.parametrize("text", ["1e999999999", "1" * 100_000, "." * 70])
def test_a_hostile_number_is_refused_unread(text: str) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        parse(text)


def test_rounds_up_to_whole_bytes_and_billionths() -> None:
    assert to_bytes("100m") == 1
    assert to_bytes("1001m") == 2
    assert to_bytes("1Gi") == 2**30
    assert parse("1e-12") == Decimal("0.000000001")


def test_equal_amounts_are_the_same_however_written() -> None:
    assert same("1Gi", "1024Mi")
    assert same("1", "1000m")
    assert same(1073741824, "1Gi")
    assert not same("1G", "1Gi")


@pytest.mark.parametrize(
    ("milli", "text"), [(100, "100m"), (1500, "1500m"), (2000, "2"), (0, "0"), (1, "1m")]
)
def test_prints_thousandths(milli: int, text: str) -> None:
    assert format_milli(milli) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(10 * 2**30, "10Gi"), (1536 * 2**20, "1536Mi"), (1000, "1000"), (0, "0"), (2**60, "1Ei")],
)
def test_prints_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(0, LARGEST))
def test_printed_bytes_read_back(size: int) -> None:
    assert to_bytes(format_bytes(size)) == size


@given(st.integers(0, LARGEST // 1000))
def test_printed_thousandths_read_back(milli: int) -> None:
    assert parse(format_milli(milli)) * 1000 == milli


@given(st.text().filter(lambda text: not any(digit in text for digit in "0123456789")))
def test_any_text_without_digits_is_answered_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        parse(text)
