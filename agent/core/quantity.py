"""Kubernetes quantities: `1536Mi`, `10G`, `100m`, `1e3`. Exact, without floating point."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal

BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
LARGEST = 2**63 - 1
GIGABYTES_BELOW = {"memory": 64, "disk": 1024}
"""What a number without a suffix stands for, where it stands for no bytes: this many and more are
megabytes.
"""
LEAST = 2**20
"""Bytes that somebody may mean by a number without a suffix."""

_FORM = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,3}|)"
)
_LONGEST = 64
# room for the longest number times the largest suffix, so that nothing is ever rounded
_EXACT = Context(prec=400, Emin=-2000, Emax=2000)
_NANO = Decimal(1).scaleb(-9)


def parse(text: str | int) -> Decimal:
    """The number that a quantity stands for, rounded up to thousand-millionths as Kubernetes does.

    Raises ValueError with a sentence if the text is no quantity or beyond 64 bits.
    """
    written = str(text) if isinstance(text, int) and abs(text) <= LARGEST else text
    match = (
        _FORM.fullmatch(written) if isinstance(written, str) and len(written) <= _LONGEST else None
    )
    if match is None:
        raise ValueError("must be a quantity such as 512Mi, 10Gi or 1.5")
    number, suffix = Decimal(match[1]), match[2]
    if suffix in BINARY:
        value = _EXACT.multiply(number, Decimal(1024 ** BINARY[suffix]))
    elif suffix in DECIMAL:
        value = _EXACT.scaleb(number, DECIMAL[suffix])
    else:
        value = _EXACT.scaleb(number, int(suffix[1:]))
    if abs(value) > LARGEST:
        raise ValueError("must be a quantity of at most 9223372036854775807 (2^63 - 1)")
    return value.quantize(_NANO, rounding=ROUND_CEILING, context=_EXACT)


def to_bytes(quantity: str | int) -> int:
    """Whole bytes, rounded up."""
    return int(parse(quantity).to_integral_value(rounding=ROUND_CEILING, context=_EXACT))


def meant(size: str | int, of: str) -> str:
    """The size that was meant by thousandths of a byte (`512m`), or by a number of bytes that is
    too small for any memory or disk (`2048`, `10`); empty where the size can be meant as it is, or
    is none.
    """
    try:
        value = parse(size)
    except ValueError:
        return ""
    match = _FORM.fullmatch(str(size))
    if match is None or value <= 0:
        return ""
    number, suffix = match[1].lstrip("+"), match[2]
    if suffix in ("n", "u", "m"):
        return f"{number}Mi"
    if value >= LEAST or suffix in BINARY or suffix in DECIMAL.keys() - {""}:
        return ""
    return f"{value.normalize():f}{'Gi' if value < GIGABYTES_BELOW[of] else 'Mi'}"


def same(left: str | int, right: str | int) -> bool:
    """True if both stand for one number: 1Gi and 1024Mi do."""
    return parse(left) == parse(right)


def format_milli(milli: int) -> str:
    """Canonical text of thousandths: `100m`, `1500m`, `2`."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def format_bytes(size: int) -> str:
    """Canonical text of whole bytes with the largest suffix that fits exactly: `10Gi`, `1536Mi`,
    `1000`.
    """
    for suffix, power in sorted(BINARY.items(), key=lambda entry: -entry[1]):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{suffix}"
    return str(size)
