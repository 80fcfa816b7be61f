"""What commands print for machines. A person's terminal may be at the other end: signs that would
steer it, or turn the direction of writing, stand escaped, which means the same to a reader.
"""

from __future__ import annotations

import json

from agent.core import ledger
from agent.core.model import Json


def as_json(value: Json, indent: int | None = 2) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if _harmless(text):
        return text
    # all of them stand within strings: between those JSON has but spaces and new lines
    return "".join(
        sign if sign == "\n" or sign.isprintable() else json.dumps(sign)[1:-1] for sign in text
    )


def as_yaml(value: Json) -> str:
    text = ledger.dump(value).decode()
    return text if _harmless(text) else ledger.dump(value, ascii_only=True).decode()


def _harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()
