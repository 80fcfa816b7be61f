"""Everything that the agent can do to a host: a closed set of frozen values, each one verb on one
host.

What is shown to people is made from the same values that are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Action:
    """One verb on one host. `verb` is what plans, logs and Git subjects print."""

    node: str

    @property
    def verb(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class ImportImage(Action):
    """Download, check and store image data: a job that may take long."""

    pool: str
    url: str = field(repr=False)
    checksums: Mapping[str, str]
    ca_bundle: str | None
    volume_prefix: str
    """The volume is named `<prefix><digest>.<format>`, so that equal data is stored once a node."""

    @property
    def source(self) -> tuple[str, Mapping[str, str], str | None]:
        """What is downloaded, and what it must be: equal for what gives the same data."""
        return self.url, self.checksums, self.ca_bundle


@dataclass(frozen=True)
class CreateVolume(Action):
    pool: str
    name: str
    capacity: int
    """Bytes."""
    backing_path: str = ""
    backing_format: str = ""


@dataclass(frozen=True)
class WriteSeed(Action):
    """Store the medium that a guest configures itself from: cloud-init's NoCloud, or Windows
    answer files.
    """

    pool: str
    name: str
    instance_id: str
    hostname: str
    sysprep: bool
    files: Mapping[str, bytes] = field(repr=False)
    """`user-data`, or the answer files by name."""


@dataclass(frozen=True)
class DeleteVolume(Action):
    pool: str
    name: str


@dataclass(frozen=True)
class EraseVolume(Action):
    """Delete a volume for good. Not done if anything on the host refers to it by then."""

    pool: str
    name: str


@dataclass(frozen=True)
class ResizeVolume(Action):
    pool: str
    name: str
    capacity: int


@dataclass(frozen=True)
class DefineDomain(Action):
    uuid: str
    xml: str = field(repr=False)
    why: str = ""
    """What the definition changes, for logs."""


@dataclass(frozen=True)
class SetLiveMetadata(Action):
    """Write the running instance's metadata. Not done if another instance runs by then."""

    uuid: str
    xml: str = field(repr=False)
    if_instance: str = ""


@dataclass(frozen=True)
class StartDomain(Action):
    uuid: str
    memory: int = 0
    """Bytes that the guest will need."""
    reset_nvram: bool = False
    """Begin with the firmware's own settings: those that are there were made for another firmware.
    """
    again: bool = False
    """It follows an end that nobody asked for. Such starts are counted."""


@dataclass(frozen=True)
class ShutdownDomain(Action):
    """Press the power button of just this instance."""

    uuid: str
    if_instance: str


@dataclass(frozen=True)
class DestroyDomain(Action):
    """End just this instance at once."""

    uuid: str
    if_instance: str


@dataclass(frozen=True)
class UndefineDomain(Action):
    uuid: str
