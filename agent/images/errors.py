"""How everything in this package fails, and how a URL is named in a message."""

from __future__ import annotations

from urllib.parse import urlsplit


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
    """A URL as messages may show it: without user, password, query and fragment, printable, at
    most 200 characters.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(an address that cannot be read)"
    if ":" in host:
        host = f"[{host}]"
    shown = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
    return "".join(c if c.isprintable() else "?" for c in shown)[:200]
