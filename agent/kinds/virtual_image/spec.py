"""The fields of VirtualImage and ClusterVirtualImage that rules read, as accepted ones have them. A
field that no rule reads needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast


class Http(TypedDict):
    url: str
    checksum: NotRequired[Mapping[str, str]]
    caBundle: NotRequired[str]


class Container(TypedDict):
    image: str
    imagePullSecret: NotRequired[Mapping[str, str]]
    """Its name; images of the whole cluster may give its namespace, too."""
    caBundle: NotRequired[str]


class ImageSource(TypedDict):
    type: Literal["HTTP", "ContainerImage", "ObjectRef", "Upload"]
    http: NotRequired[Http]
    containerImage: NotRequired[Container]


class Claim(TypedDict):
    storageClassName: NotRequired[str]


class ImageSpec(TypedDict):
    dataSource: ImageSource


class NamespacedImageSpec(ImageSpec):
    """What images in a namespace have beside."""

    persistentVolumeClaim: NotRequired[Claim]


def image_spec(spec: Mapping[str, object]) -> NamespacedImageSpec:
    """An image's spec; one of the whole cluster has fewer fields that may be absent."""
    return cast("NamespacedImageSpec", spec)
