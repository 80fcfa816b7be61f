"""How everything in this package fails, and how a URL is named in a message."""

from __future__ import annotations

from agent.core.addresses import hidden


class ImageError(Exception):
    """An image could not be brought here.

    `reason` is CamelCase. `retry` is False when the same manifest would fail again: only a new
    one helps.
    """

    def __init__(self, reason: str, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry


class CancelledError(ImageError):
    """The caller's `cancelled` said so; nothing is wrong with the image."""

    def __init__(self) -> None:
        super().__init__("Cancelled", "the work on the image was cancelled", retry=True)


def address(url: str) -> str:
    """A URL as messages may show it: without what is secret, printable, at most 200 characters."""
    return "".join(c if c.isprintable() else "?" for c in hidden(url))[:200]
