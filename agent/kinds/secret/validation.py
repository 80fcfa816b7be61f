"""Rules about one Secret that its schema cannot say. No message here holds a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.documents import Path
from agent.core.encoded import decoded
from agent.core.manifests import Check, Note
from agent.core.model import Json
from agent.kinds.cloud_config import notes
from agent.kinds.content import mapping

MAX_BYTES = 1024 * 1024
CLOUD_INIT = "provisioning.virtualization.deckhouse.io/cloud-init"
USER_DATA = ("userData", "userdata")
"""Under one of these keys."""


def encoding(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    for key, value in mapping(content, "data").items():
        if not isinstance(value, str):
            continue
        try:
            decoded(value)
        except ValueError:
            yield (
                ("data", key),
                "must be base64: encode the value, or write it under stringData as it is",
            )


def size(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    encoded = sum(len(text) for text in mapping(content, "data").values() if isinstance(text, str))
    plain = sum(
        len(t.encode()) for t in mapping(content, "stringData").values() if isinstance(t, str)
    )
    total = encoded * 3 // 4 + plain
    if total > MAX_BYTES:
        yield ("data",), f"must have at most {MAX_BYTES // 1024} KiB in all"


def cloud_config(content: Mapping[str, Json]) -> Iterable[tuple[Path, str]]:
    """User data that a machine takes from here."""
    if content.get("type") != CLOUD_INIT:
        return
    for field in ("data", "stringData"):
        for key in USER_DATA:
            for note in notes(_plain(field, mapping(content, field).get(key))):
                yield (field, key), Note(note)


def _plain(field: str, value: Json) -> str:
    """The text of a value; empty if it is none."""
    if not isinstance(value, str) or field == "stringData":
        return value if isinstance(value, str) else ""
    try:
        return decoded(value).decode()
    except ValueError:
        return ""


CHECKS: tuple[Check, ...] = (encoding, size, cloud_config)
