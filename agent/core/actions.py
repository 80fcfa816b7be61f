"""Everything that the agent can do to a host: a closed set of frozen values, each one verb on one
host.

What is shown to people is made from the same values that are carried out.

People and backup tools work on the same host, and not all that they do is told by an event. So a
verb that replaces or deletes something names what it relies on (`over`, `if_instance`,
`unless_in`); the executor looks once more right before, and where that does not hold any more the
deed is left and decided anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from agent.core.image_sources import ImageSource
from agent.core.network import Held


@dataclass(frozen=True)
class Action:
    """One verb on one host. `verb` is what plans, logs and Git subjects print."""

    node: str

    @property
    def verb(self) -> str:
        return type(self).__name__

    @property
    def about(self) -> str:
        """Which of several things of its object it is about; empty where there is just one."""
        return ""

    @property
    def effect(self) -> Action:
        """What it does, whatever it relies on: equal for deeds that come to the same."""
        return self


@dataclass(frozen=True)
class DomainAction(Action):
    """One verb on one domain, which is read again afterwards."""

    uuid: str


@dataclass(frozen=True)
class DefinitionAction(DomainAction):
    """Replaces or removes a definition. Not done if the domain has changed since."""

    over: str = field(repr=False)
    """`core.host.version` of the domain that it was decided on."""

    @property
    def effect(self) -> Self:
        return replace(self, over="")


@dataclass(frozen=True)
class ImportImage(Action):
    """Bring, check and store image data: a job that may take long."""

    pool: str
    source: ImageSource
    volume_prefix: str
    """The volume is named `<prefix><digest>.<format>`, so that equal data is stored once a node."""
    volume: str = ""
    """The volume that it must be, where another node has it already."""
    size: int = 0
    """Bytes of that volume."""
    known: str = ""
    """What the name of a mark begins with that says whose data it is; empty where it needs none."""


@dataclass(frozen=True)
class CreateVolume(Action):
    pool: str
    name: str
    capacity: int
    """Bytes."""
    backing_path: str = ""
    backing_format: str = ""
    format: str = "qcow2"


@dataclass(frozen=True)
class CopyVolume(Action):
    """Make a volume with all that another one of the same node shows to a guest, based on nothing:
    a job that may take long. Not done if a running domain may write to that one by then.
    """

    pool: str
    name: str
    source_pool: str
    source: str
    capacity: int
    """Bytes, at least as many as the source has."""
    format: str = "qcow2"
    source_format: str = "qcow2"
    """What the source is known to be. What it looks like is its guest's to choose."""
    as_of: str = ""
    """What its result repeats: whoever asks for it knows by that when it was asked for."""


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
    """`user-data` and what else cloud-init reads beside it, or the answer files, by name."""


@dataclass(frozen=True)
class DeleteVolume(Action):
    """Delete what belongs to one VM alone: a seed, a console log."""

    pool: str
    name: str
    unless_in: str
    """UUID of the VM's domain. Not done if that refers to the volume by then."""


@dataclass(frozen=True)
class DeleteSeed(DeleteVolume):
    """Delete a medium that a guest configured itself from: it can be written again."""


@dataclass(frozen=True)
class DeleteConsoleLog(DeleteVolume):
    pass


@dataclass(frozen=True)
class DiscardUpload(Action):
    """Delete what somebody has uploaded, or a part of it. Not done if anything on the host refers
    to it by then.
    """

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
class GrowDisk(DomainAction):
    """Grow a volume through just this instance, which has it open; its guest sees it at once. Not
    done while somebody copies or merges a disk of the domain.
    """

    if_instance: str
    pool: str
    name: str
    capacity: int

    @property
    def about(self) -> str:
        return self.name


@dataclass(frozen=True)
class SnapshotSource:
    """A disk, and the volume that is to hold what it holds at one moment."""

    serial: str
    pool: str
    volume: str
    capacity: int
    """Bytes."""
    target: str
    """The new volume, in the same pool."""
    format: str
    """qcow2 or raw, of both."""


@dataclass(frozen=True)
class TakeSnapshot(Action):
    """Keep what disks hold at one moment, each in a volume of its own: a job that may take long.
    Not done if another instance than that has them open by then, or any where none is meant.
    """

    uid: str
    """Of the snapshot."""
    disks: tuple[SnapshotSource, ...]
    required: bool
    """True if the guest's file systems have to be at rest."""
    uuid: str = ""
    """The domain that has them open; empty if none has."""
    if_instance: str = ""


@dataclass(frozen=True)
class DropSnapshot(Action):
    """End what a snapshot that is not wanted any more has begun, and delete what there is of it:
    volumes that are not whole.
    """

    uid: str
    volumes: tuple[tuple[str, str], ...]
    """Pool and name."""


@dataclass(frozen=True)
class ThawGuest(Action):
    """Let a guest write again that a backup has left frozen."""

    uuid: str
    if_instance: str


@dataclass(frozen=True)
class DefineDomain(DefinitionAction):
    xml: str = field(repr=False)
    why: str = ""
    """What the definition changes, for logs."""


@dataclass(frozen=True)
class SetLiveMetadata(DomainAction):
    """Write the running instance's metadata. Not done if another instance runs by then."""

    xml: str = field(repr=False)
    if_instance: str = ""


@dataclass(frozen=True)
class StartDomain(DomainAction):
    """Start a domain. Not done if another one that has a disk of it has changed since, nor while a
    network does not hold its address.
    """

    memory: int = 0
    """Bytes that the guest will need."""
    reset_nvram: bool = False
    """Begin with the firmware's own settings: those that are there were made for another firmware.
    """
    again: bool = False
    """It follows an end that nobody asked for. Such starts are counted."""
    beside: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    """Node, UUID and `core.host.version` of the other domains that have a disk of this one, and of
    this one on other nodes, as it was decided on.
    """
    holds: Held | None = field(default=None, repr=False)
    """What a network that runs has to hold for it; None where its guest gets its address otherwise.
    """
    instead_of: str = ""
    """The lost node that has a copy of it, too: once that answers it is decided anew."""

    @property
    def effect(self) -> Self:
        return replace(self, beside=())


@dataclass(frozen=True)
class AttachDevice(DomainAction):
    """Give just this instance a disk or an interface. Not done if another domain that has the disk
    has changed since.
    """

    if_instance: str
    what: str
    """The device, for messages."""
    device: str
    """What tells it apart: a disk's serial number, an interface's MAC address."""
    xml: str = field(repr=False)
    """The device as it stands in a definition."""
    beside: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    """As those of a start."""

    @property
    def about(self) -> str:
        return self.device

    @property
    def effect(self) -> Self:
        return replace(self, beside=())


@dataclass(frozen=True)
class DetachDevice(DomainAction):
    """Take a device from just this instance. Not done while its guest says that it is mounted."""

    if_instance: str
    what: str
    """The device, for messages."""
    device: str
    """As that of AttachDevice."""
    force: bool = False
    """Also where it is mounted; of an interface, which no guest mounts, too."""

    @property
    def about(self) -> str:
        return self.device


@dataclass(frozen=True)
class BeginDiskCopy(DomainAction):
    """Have just this instance copy a disk to a volume that is there, and write to both from then
    on.
    """

    if_instance: str
    serial: str
    pool: str
    volume: str
    xml: str = field(repr=False)
    """The disk as it is to be, with that volume as its source."""
    needed: int = 0
    """Bytes that it takes at least."""

    @property
    def about(self) -> str:
        return self.serial


@dataclass(frozen=True)
class EndDiskCopy(DomainAction):
    """End the copy of a disk of just this instance to that path: go on with it alone where `pivot`,
    else without it. Not done if it is copied elsewhere by then.
    """

    if_instance: str
    serial: str
    path: str
    pivot: bool

    @property
    def about(self) -> str:
        return self.serial


@dataclass(frozen=True)
class ShutdownDomain(DomainAction):
    """Press the power button of just this instance."""

    if_instance: str


@dataclass(frozen=True)
class DestroyDomain(DomainAction):
    """End just this instance at once."""

    if_instance: str


@dataclass(frozen=True)
class ResumeDomain(Action):
    """Let just this instance go on after it was paused for lack of space. Not done if it is paused
    for another reason by then.
    """

    uuid: str
    if_instance: str


@dataclass(frozen=True)
class UndefineDomain(DefinitionAction):
    """Remove a definition, with its NVRAM, and no volume."""
