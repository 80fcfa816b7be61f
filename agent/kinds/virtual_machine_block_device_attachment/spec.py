"""The fields of a VirtualMachineBlockDeviceAttachment that rules read, as an accepted one has
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict, cast


class DeviceRef(TypedDict):
    kind: Literal["ClusterVirtualImage", "VirtualImage", "VirtualDisk"]
    name: str


class AttachmentSpec(TypedDict):
    blockDeviceRef: DeviceRef
    virtualMachineName: str


def attachment_spec(spec: Mapping[str, object]) -> AttachmentSpec:
    """An attachment's spec."""
    return cast("AttachmentSpec", spec)
