"""What is in use stays, and says by whom it is used."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.model import Key

NAMED = 3


def kept(what: str, users: Sequence[Key]) -> str:
    """The sentence for an object that is to be deleted and cannot be yet. There is a user."""
    names = [str(user) for user in users[:NAMED]]
    if len(users) > NAMED:
        names.append(f"{len(users) - NAMED} more")
    last = names.pop()
    if not names:
        return f"The {what} is kept while {last} refers to it."
    return f"The {what} is kept while {', '.join(names)} and {last} refer to it."
