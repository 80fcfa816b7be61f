"""`-l`: objects by their labels."""

from __future__ import annotations

from agent.cli.command import CommandError
from agent.core import selector as labels
from agent.core.selector import Selector

__all__ = ["Selector", "selector"]


def selector(text: str) -> Selector:
    """Whether labels fit all requirements. CommandError if the text is no selector."""
    try:
        return labels.selector(text)
    except ValueError as error:
        raise CommandError(str(error)) from error
