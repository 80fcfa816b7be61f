"""The fields of a StorageClass that rules read, as an accepted one has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast


class Parameters(TypedDict):
    pool: NotRequired[str]


class StorageClassSpec(TypedDict):
    parameters: NotRequired[Parameters]
    volumeBindingMode: Literal["Immediate", "WaitForFirstConsumer"]
    allowVolumeExpansion: NotRequired[bool | None]


def storage_class_spec(content: Mapping[str, object]) -> StorageClassSpec:
    """A class: its fields stand beside its name."""
    return cast("StorageClassSpec", content)
