"""Objects and problems as files of the status branch have them, for whoever looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.model import Json, Problem
from agent.core.parsing import parse
from agent.core.schema import Kind

PROBLEMS_FILE = "problems.yaml"


@dataclass(frozen=True)
class Entry:
    """One object's file."""

    kind: Kind
    path: str
    blob: str
    value: Mapping[str, Any]

    @property
    def name(self) -> str:
        name: str = self.value["metadata"]["name"]
        return name

    @property
    def namespace(self) -> str:
        namespace: str = self.value["metadata"].get("namespace", "")
        return namespace

    @property
    def label(self) -> str:
        """`namespace/name`, or the name of what belongs to no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.value["status"]
        return status


def whole(value: dict[str, Json] | None) -> Mapping[str, Any] | None:
    """An object with the parts that every reader relies on; None if it lacks what makes it one."""
    if value is None or not isinstance(value.get("metadata"), dict):
        return None
    metadata = value["metadata"]
    if not isinstance(metadata.get("name"), str) or not isinstance(
        metadata.get("namespace", ""), str
    ):
        return None
    status = value.get("status")
    return {**value, "status": status if isinstance(status, dict) else {}}


def problems(data: bytes) -> list[Problem]:
    """The list that problems.yaml holds; entries that are none are left out."""
    listed = []
    for document in parse(data).documents:
        items = document.value if isinstance(document.value, list) else []
        for item in items:
            try:
                line = int(item.get("line", 0))
                texts = (str(item.get(name, "")) for name in ("resource", "path", "message"))
                listed.append(Problem(str(item["file"]), line, *texts))
            except (AttributeError, KeyError, TypeError, ValueError):
                continue
    return listed
