"""Names that are derived and never stored: equal inputs give equal names on every agent."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Json, Key

_ROOT = uuid.UUID("3a9c8f1e-6f55-4d0e-9f0d-7f6c1c4be0a2")
POOL = "gitvirt"
_FLEET = "default"
LONGEST_NAME = 64
UID_LENGTH = 36
QCOW2, RAW = "qcow2", "raw"
_DISK = re.compile(r"(\.[1-9][0-9]*)?\.(qcow2|raw)\Z")
"""What the names of disks' volumes end with."""
_WITH = re.compile(r"-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_\Z")
"""What the names of volumes have of a machine's snapshot, before their own uid."""
_WHOLE = ".whole"
_UPLOAD = re.compile(
    r"(?P<fleet>[-a-z0-9]+)_upload_(?P<uid>[-0-9a-f]{36})_(?P<size>[0-9]{1,16})_"
    r"(?P<digest>[0-9a-f]{64})(?P<whole>\.whole)?",
    re.ASCII,
)
_COPY = "copy-"
_DATA = rf"(?P<digest>[0-9a-f]{{64}}|{_COPY}[0-9a-f]{{32}})\.(?P<format>qcow2|raw|iso)"
_IMAGE = re.compile(_DATA)
_KNOWN = re.compile(
    r"(?P<fleet>[-a-z0-9]+)_known_[0-9a-f]{24}_(?P<uid>[-0-9a-f]{36})_(?P<stored>[0-9]{1,16})_"
    rf"(?P<unpacked>[0-9]{{1,16}})_{_DATA}",
    re.ASCII,
)


def domain_uuid(fleet: str, key: Key) -> str:
    return str(uuid.uuid5(_ROOT, f"{fleet}/{key.kind}/{key.namespace}/{key.name}"))


def domain_name(key: Key) -> str:
    return f"{key.namespace}.{key.name}"


def mac_address(fleet: str, key: Key, network: str = "", number: int = 1) -> str:
    """A locally administered unicast address with 40 derived bits, of a machine's interface to a
    network; without a name that of Main.
    """
    interface = f"/{network}/{number}" if network else ""
    text = f"{fleet}/{key.kind}/{key.namespace}/{key.name}{interface}"
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(["52", *(f"{byte:02x}" for byte in digest[:5])])


def network_name(fleet: str) -> str:
    """What libvirt calls the network that the agent makes by itself. A fleet of another name has
    one of its own.
    """
    return POOL if fleet == _FLEET else f"{POOL}-{fleet}"


def bridge_name(fleet: str) -> str:
    """The bridge of that network, as Linux bears it."""
    if fleet == _FLEET:
        return f"virbr-{POOL}"
    return f"virbr-{hashlib.sha256(fleet.encode()).hexdigest()[:8]}"


def bridge_mac(fleet: str) -> str:
    """Of that bridge: the same on each node."""
    digest = hashlib.sha256(f"{fleet}/network".encode()).digest()
    return ":".join(["52", *(f"{byte:02x}" for byte in digest[:5])])


def entry_name(fleet: str, key: Key) -> str:
    """The name of a VM in the DHCP of a network. The guest sees what stands before its first dot;
    the rest says whose it is, and libvirt wants a letter first.
    """
    letter = "" if key.name[0].isalpha() else "vm-"
    return f"{letter}{key.name}.{key.namespace}.{fleet}.{POOL}"


def operation_uid(fleet: str, key: Key, spec: Mapping[str, Json]) -> str:
    """The same file is the same operation for ever."""
    text = json.dumps([fleet, key.namespace, key.name, spec], sort_keys=True)
    return str(uuid.uuid5(_ROOT, text))


def internal_uid(owner: str, what: str, instance: str) -> str:
    """Uid of something that the agent does once to one instance by itself."""
    return str(uuid.uuid5(_ROOT, f"{owner}/{what}/{instance}"))


def made_uid(owner: str, key: Key) -> str:
    """Uid of an object that the agent makes for another one: a repeated pass makes the same."""
    return str(uuid.uuid5(_ROOT, f"{owner}/{key.kind}/{key.namespace}/{key.name}"))


def next_instance(owner: str, instance: str, now: float) -> str:
    """Id of the start after `instance`."""
    return hashlib.sha256(f"{owner}/{instance}/{now:.6f}".encode()).hexdigest()[:16]


def serial(uid: str) -> str:
    """What a guest sees as a disk's serial number."""
    digest = hashlib.md5(uid.encode(), usedforsecurity=False)  # pragma: no mutate: not for names
    return digest.hexdigest()


def _token(name: str) -> str:
    """The name, or as much of it as a file name bears with a digest of the rest."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: LONGEST_NAME - 13]}-{digest}"


def disk_prefix(fleet: str, key: Key) -> str:
    """What the volume names of a disk start with, and of whatever else keeps data, whatever its
    uid: the ledger may be lost, the disk is not.
    """
    what = key.kind.removeprefix("Virtual").lower()
    return f"{fleet}_{what}_{_token(key.namespace)}_{_token(key.name)}_"


def disk_volumes(fleet: str) -> str:
    """What the volume names of all disks start with."""
    return f"{fleet}_disk_"


def disk_volume(fleet: str, key: Key, uid: str, volume_format: str = QCOW2, number: int = 0) -> str:
    """`number` tells volumes of one disk apart that has been moved: 0 is the one that it was made
    with.
    """
    moved = f".{number}" if number else ""
    return f"{disk_prefix(fleet, key)}{uid}{moved}.{volume_format}"


def snapshot_volume(fleet: str, key: Key, uid: str, volume_format: str = QCOW2) -> str:
    """Of the snapshot of a disk."""
    return disk_volume(fleet, key, uid, volume_format)


def keeps_data(fleet: str, name: str) -> bool:
    """True for the volume names that this fleet gives to disks and to snapshots of them."""
    return name.startswith(disk_volumes(fleet)) or is_snapshot(fleet, name)


def is_snapshot(fleet: str, name: str) -> bool:
    """True for the volume names that this fleet gives to snapshots of disks."""
    return name.startswith(f"{fleet}_disksnapshot_")


def taken_with(name: str) -> str:
    """Uid of the snapshot of a machine that a disk's was taken with, as a volume's name says;
    empty for one that was taken by itself, or whose disk has a name that is too long for that.
    """
    found = _WITH.search(prefix_of(name))
    return found[1] if found else ""


def named_uid(key: Key, chance: str) -> str:
    """A new uid that shows whose it is: what it has is found again although the ledger is lost.
    `chance` is 32 hexadecimal digits that nobody had before.
    """
    return str(uuid.UUID(chance[:20] + _mark(key)))


def is_uid_of(uid: str, key: Key) -> bool:
    """True for a uid that was made for an object of that name."""
    return uid.endswith(f"-{_mark(key)}")


def _mark(key: Key) -> str:
    return hashlib.sha256("/".join(key).encode()).hexdigest()[:12]


def is_disk_volume(fleet: str, name: str, serial_number: str) -> bool:
    """True for the volume names that this fleet gives to the disk that guests see with that serial
    number.
    """
    return name.startswith(disk_volumes(fleet)) and serial(disk_uid(name)) == serial_number


def disk_uid(name: str) -> str:
    """Uid of the disk that a volume is of; empty for names that no disk's volume has."""
    end = _DISK.search(name)
    return name[: end.start()][-UID_LENGTH:] if end else ""


def disk_format(name: str) -> str:
    """Format of a disk's volume."""
    return name.rpartition(".")[2]


def disk_number(name: str) -> int:
    """The number that tells a disk's volume from its others."""
    end = _DISK.search(name)
    return int((end[1] if end and end[1] else ".0").removeprefix("."))


def prefix_of(name: str) -> str:
    """What `disk_prefix` is of a disk's volume; empty for names that no disk's volume has."""
    end = _DISK.search(name)
    return name[: end.start()][:-UID_LENGTH] if end else ""


def image_prefix(fleet: str) -> str:
    return f"{fleet}_image_"


def image_volume(fleet: str, digest: str, image_format: str) -> str:
    return f"{image_prefix(fleet)}{digest}.{image_format}"


def is_image_data(fleet: str, name: str) -> bool:
    """True for the volume names that this fleet gives to image data."""
    prefix = image_prefix(fleet)
    return name.startswith(prefix) and _IMAGE.fullmatch(name[len(prefix) :]) is not None


def copied_data(uid: str, generation: int, volume: str, lost: str) -> str:
    """What stands for the digest of data that is copied on its node, which nobody has hashed: an
    image of that uid has it from a volume. Another copy has another name: also one that is made
    because the data with the name `lost` is gone.
    """
    text = f"{uid}/{generation}/{volume}/{lost}"
    return _COPY + hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class KnownData:
    """What the name of a volume says of image data that is an object's: nobody can bring it again,
    so that it is known by that also once the ledger is lost.
    """

    uid: str
    stored: int
    """Bytes of its file."""
    unpacked: int
    """Bytes that a guest sees."""
    digest: str
    format: str


def known_prefix(fleet: str, key: Key) -> str:
    """What the names of such volumes begin with, whatever the uid of the object."""
    text = f"{key.kind}/{key.namespace}/{key.name}"
    return f"{fleet}_known_{hashlib.sha256(text.encode()).hexdigest()[:24]}_"


def known_volume(begin: str, stored: int, unpacked: int, digest: str, image_format: str) -> str:
    """The name of such a volume, which is empty; it begins with its prefix and the uid."""
    return f"{begin}_{stored}_{unpacked}_{digest}.{image_format}"


def known_data(fleet: str, name: str) -> KnownData | None:
    """None for all other names."""
    found = _KNOWN.fullmatch(name)
    if found is None or found["fleet"] != fleet:
        return None
    sizes = int(found["stored"]), int(found["unpacked"])
    return KnownData(found["uid"], *sizes, found["digest"], found["format"])


def is_hashed(digest: str) -> bool:
    """True for the SHA-256 of image data, false for what stands for one."""
    return not digest.startswith(_COPY)


def is_copied(name: str) -> bool:
    """True for the volume names of image data that is copied on its node: its length there says
    nothing.
    """
    return f"_image_{_COPY}" in name


def is_passing(fleet: str, name: str) -> bool:
    """True for the volume names of what this fleet has only while something is being made: the
    marks of what is not whole, and the copies that earlier agents read images from.
    """
    ours = name.startswith(f"{fleet}_")
    return name.startswith(f"{fleet}_copy_") or (ours and finished(name) != "")


def seed_prefix(fleet: str, uid: str) -> str:
    return f"{fleet}_seed_{uid}_"


def seed_volume(fleet: str, uid: str, digest: str) -> str:
    return f"{seed_prefix(fleet, uid)}{digest}.iso"


def upload_volume(fleet: str, uid: str, size: int, digest: str) -> str:
    """What somebody uploads for an object: a file of so many bytes with that SHA-256. A part of
    another file has another name.
    """
    return f"{fleet}_upload_{uid}_{size}_{digest}"


def whole_upload(name: str) -> str:
    """The volume, empty, that is made once the one of that name is whole."""
    return f"{name}{_WHOLE}"


@dataclass(frozen=True)
class Upload:
    """What the name of a volume says that somebody uploads, or has uploaded."""

    uid: str
    size: int
    digest: str
    whole: bool
    """True for the mark of a whole one."""


def upload(fleet: str, name: str) -> Upload | None:
    """None for all other names."""
    found = _UPLOAD.fullmatch(name)
    if found is None or found["fleet"] != fleet:
        return None
    return Upload(found["uid"], int(found["size"]), found["digest"], bool(found["whole"]))


def lock_volume(fleet: str, node: str) -> str:
    """What a node tries with whether others' locks hold."""
    return f"{fleet}_lock_{_token(node)}"


def console_log(fleet: str, uid: str) -> str:
    return f"{fleet}_console_{uid}.log"


_UNFINISHED = ".unfinished"


def unfinished(name: str) -> str:
    """The volume, empty, that is there as long as the one of that name is not whole. It is made
    first and deleted last, so that what a kill of the agent or of libvirtd has cut in half is told
    from what is whole.
    """
    return f"{name}{_UNFINISHED}"


def finished(name: str) -> str:
    """The volume that is not whole as long as the one of that name is there; empty for others."""
    return name.removesuffix(_UNFINISHED) if name.endswith(_UNFINISHED) else ""
