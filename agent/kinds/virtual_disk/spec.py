"""The fields of a VirtualDisk that rules read, as an accepted one has them. A field that no rule
reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast

from agent.kinds.virtual_image import Container, Http


class ObjectRef(TypedDict):
    kind: Literal["ClusterVirtualImage", "VirtualImage", "VirtualDiskSnapshot"]
    name: str


class DiskSource(TypedDict):
    """What `type` names is there, and nothing else."""

    type: Literal["HTTP", "ContainerImage", "ObjectRef", "Upload"]
    http: NotRequired[Http]
    containerImage: NotRequired[Container]
    objectRef: NotRequired[ObjectRef]


class Claim(TypedDict):
    size: NotRequired[str | int]
    storageClassName: NotRequired[str]


class DiskSpec(TypedDict):
    dataSource: NotRequired[DiskSource]
    persistentVolumeClaim: NotRequired[Claim]


def disk_spec(spec: Mapping[str, object]) -> DiskSpec:
    """A disk's spec."""
    return cast("DiskSpec", spec)
