"""What was probably meant by a word that is none of those that are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 64
"""Letters; nothing that is known is longer, and comparing takes time that grows with the square."""


def nearest(word: str, words: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The known word that comes next to this one, whatever its case, dashes and underscores; None
    where nothing comes near: of 1 for the same word, `cutoff` is the least that counts.
    """
    if len(word) > LONGEST:
        return None
    meant = _folded(word)
    folded = {_folded(known): known for known in words}
    match = difflib.get_close_matches(meant, folded, n=1, cutoff=cutoff)
    if not match:  # of a short word, two letters in each other's place are a large part
        match = [known for known in folded if sorted(known) == sorted(meant)]
    return folded[match[0]] if match else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
