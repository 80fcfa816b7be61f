"""What a guest's words may do to a terminal. A guest is hostile; a terminal takes commands from
whoever writes to it. Terminals are those of today: they read UTF-8.
"""

from __future__ import annotations

import re

_TEXT = rb"(?:\x1b[PX\]^_]|\xc2[\x90\x98\x9d-\x9f])"
"""Begins a text for the terminal itself: its clipboard, its title, its settings."""
_END = rb"(?:\x07|\x18|\x1a|\x1b\\|\xc2\x9c)"
_CONTROL = rb"(?:\x1b\[|\xc2\x9b)[\x20-\x3f]{0,256}"
_REFUSED = re.compile(_TEXT + rb".*?" + _END + rb"|" + _CONTROL + rb"t", re.DOTALL)
"""Such texts, and commands to the window: a terminal may answer one with what the other said."""
_UNFINISHED = re.compile(rb"(?:" + _TEXT + rb".*|" + _CONTROL + rb"|\x1b|\xc2)\Z", re.DOTALL)
_STRANGE = re.compile(
    _CONTROL
    + rb"[\x40-\x7e]?|\x1b[\x20-\x2f]*[\x30-\x7e]?|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]"
)
_CANCEL = b"\x18"
"""In the place of what is left out: a sequence that another one stood in goes on as nothing."""
_LONGEST = 4096


class Filter:
    """Lets through text, colours and the cursor's moves, piece by piece as they come, and nothing
    that reaches further.
    """

    def __init__(self) -> None:
        self._held = b""
        """The start of a sequence of which the end is to come."""

    def feed(self, data: bytes) -> bytes:
        data = _REFUSED.sub(_CANCEL, self._held + data)
        unfinished = _UNFINISHED.search(data)
        at = len(data) if unfinished is None else unfinished.start()
        self._held = data[at:]
        if len(self._held) > _LONGEST:  # goes nowhere, however long it is
            self._held = self._held[:2] + self._held[-2:]
        return data[:at]


def words(data: bytes) -> bytes:
    """The bare text of what a guest said a while ago: what was a command then would act, and be
    answered, once more.
    """
    return _STRANGE.sub(b"", _REFUSED.sub(_CANCEL, data))
