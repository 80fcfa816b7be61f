"""The Markdown that the agent writes, and no more of it: headings, lists, bold, code. Whatever else
stands there is text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r"\\(.)|(&(?:amp|lt|gt|#[0-9]{1,4});)|(\*\*)|(`)|([^\\&*`]+|.)", re.DOTALL)
_LINE = re.compile(r"(#{1,6}) +|( *)- +")


def blocks(text: str) -> Iterator[dict[str, Any]]:
    """Line by line: `as` is heading, item or text, `depth` that of a heading or an item."""
    for line in text.splitlines():
        if not line.strip():
            continue
        begun = _LINE.match(line)
        rest = line[begun.end() :] if begun else line
        shape, depth = "text", 0
        if begun and begun[1]:
            shape, depth = "heading", len(begun[1])
        elif begun:
            shape, depth = "item", len(begun[2]) // 2
        yield {"as": shape, "depth": depth, "spans": list(spans(rest))}


def spans(line: str) -> Iterator[dict[str, str]]:
    """Parts of a line with how they are set: bold, code, or nothing."""
    style, held = "", ""
    for escaped, entity, bold, code, plain in _TOKEN.findall(line):
        mark = "bold" if bold else "code" if code else ""
        if mark and style in ("", mark):
            if held:
                yield {"text": held, "style": style}
            style, held = ("" if style else mark), ""
        else:
            held += escaped or html.unescape(entity) or bold or code or plain
    if held:
        yield {"text": held, "style": style}
