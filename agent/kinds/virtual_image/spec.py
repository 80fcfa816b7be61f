"""The fields of VirtualImage and ClusterVirtualImage that rules read, as accepted ones have them. A
field that no rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast

from agent.core.model import Key


class Http(TypedDict):
    url: str
    checksum: NotRequired[Mapping[str, str]]
    caBundle: NotRequired[str]


class Container(TypedDict):
    image: str
    imagePullSecret: NotRequired[Mapping[str, str]]
    """Its name; images of the whole cluster may give its namespace, too."""
    caBundle: NotRequired[str]


class ObjectRef(TypedDict):
    kind: Literal["ClusterVirtualImage", "VirtualImage", "VirtualDisk", "VirtualDiskSnapshot"]
    name: str


class ClusterObjectRef(ObjectRef):
    """What images of the whole cluster have beside."""

    namespace: NotRequired[str]


class ImageSource(TypedDict):
    type: Literal["HTTP", "ContainerImage", "ObjectRef", "Upload"]
    http: NotRequired[Http]
    containerImage: NotRequired[Container]
    objectRef: NotRequired[ObjectRef]


class Claim(TypedDict):
    storageClassName: NotRequired[str]


class ClusterImageSource(TypedDict):
    type: Literal["HTTP", "ContainerImage", "ObjectRef", "Upload"]
    http: NotRequired[Http]
    containerImage: NotRequired[Container]
    objectRef: NotRequired[ClusterObjectRef]


class ImageSpec(TypedDict):
    dataSource: ClusterImageSource


class NamespacedImageSpec(TypedDict):
    dataSource: ImageSource
    persistentVolumeClaim: NotRequired[Claim]


def image_spec(spec: Mapping[str, object]) -> NamespacedImageSpec:
    """An image's spec; one of the whole cluster has fewer fields that may be absent."""
    return cast("NamespacedImageSpec", spec)


CLUSTER = "ClusterVirtualImage"
"""The kind of images that belong to no namespace."""


def device_key(namespace: str, kind: str, name: str) -> Key:
    """The disk or image that an object of that namespace names by kind and name."""
    return Key(kind, "" if kind == CLUSTER else namespace, name)
