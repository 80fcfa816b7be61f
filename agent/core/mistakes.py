"""How an error that nobody foresaw is told to people."""

from __future__ import annotations

INTERNAL = "InternalError"
"""Reason of what failed by a mistake in this program."""


def mistake(error: BaseException) -> str:
    """The end of a sentence. The log has the error whole; its text may hold anything."""
    kind = type(error).__name__
    return f"a mistake in gitvirt itself ({kind}): report it with the agent's log"
