"""What a domain carries in its metadata: enough to go on with nothing else but the manifest.

One `defineXML` writes definition and metadata at once, and any start, by anybody, copies both to
the running side: a domain is its own write-ahead log. `instance` names the *next* start; the
running copy names the one that runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from lxml import etree

from agent.core.model import Json
from agent.core.xml import every, first

NAMESPACE = "https://gitvirt.io/xmlns/domain/1"
PREFIX = "gitvirt"
_TAG = f"{{{NAMESPACE}}}"
KEPT_OPERATIONS = 16
_OF_ATTACHMENTS = ("name", "kind", "device", "serial")
_OF_ADDRESSES = ("kind", "name", "address")
_ADDRESS = re.compile(rf"<{PREFIX}:address ([^>]*)/>")
_MACHINE = re.compile(rf"<{PREFIX}:vm ([^>]*)>")
_MAC = re.compile(r"""<mac address=["']([0-9A-Fa-f:]{17})["']""")
_PAIR = re.compile(r"""([a-z]+)=["']([^"']*)["']""")


@dataclass(frozen=True)
class Recorded:
    """An operation that a domain remembers. It acts only on its target instance."""

    uid: str
    type: str
    """Start, Stop, Restart, Restore, and the agent's own Automatic (pending changes) and Reboot (a
    guest's reboot).
    """
    force: bool
    target: str
    """The instance to end; for Start the next instance; empty for what found the VM off."""
    at: int
    """Seconds since the epoch."""
    cancelled: bool = False
    done: bool = False
    """Of a Restore: its disks are made. Until then the machine stays off. Of a migration: the
    machine is where it was to go.
    """
    failed: str = ""
    """Of a migration that came to nothing: reason and message."""


@dataclass(frozen=True)
class Power:
    """What was last decided about power. `on` is False once somebody has stopped the VM on
    purpose.
    """

    on: bool
    by: str
    """policy, guest, host, deletion, or an operation's uid."""
    at: int
    instance: str
    """Decided on for this instance to start, or off for this one to end. Off and on for another
    instance than the next one means: that one has stopped by itself.
    """


@dataclass(frozen=True)
class Attachment:
    """A device that is attached to the domain beside those of its spec."""

    name: str
    """Of the object that asks for it, in the VM's namespace."""
    kind: str
    device: str
    """Kind and name of the disk or image."""
    serial: str


@dataclass(frozen=True, order=True)
class Reserved:
    """An address that is reserved for the machine."""

    kind: str
    name: str
    """Of the object that reserves it, in the VM's namespace."""
    address: str


@dataclass(frozen=True)
class Migration:
    """The mark of a migration: written before the machine leaves, taken away once all of it is
    where it belongs.
    """

    operation: str
    """Uid of the operation that asked for it. Empty where the machine takes the place of one on a
    node that is lost: nothing was sent from there.
    """
    source: str
    """The node that it leaves."""
    target: str
    at: int
    """When it began, in seconds since the epoch."""
    epoch: int
    """Of the domain when it began."""
    converge: bool = False
    """True if the guest may be slowed down."""
    cold: bool = False
    """True of a machine that is taken there while it is off: no operation asks for that."""
    taken: str = ""
    """On the target, of such a one: what its volumes on the source were when they were copied."""

    @property
    def substitute(self) -> bool:
        return not self.operation and not self.cold


@dataclass(frozen=True)
class DomainMetadata:
    """The element `<gitvirt:vm>` of a domain."""

    fleet: str
    namespace: str
    name: str
    uid: str
    created: str
    generation: int
    source: str
    instance: str
    power: Power
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, object] = field(default_factory=dict)
    """Complete and sealed."""
    operations: tuple[Recorded, ...] = ()
    """Oldest first, the last 16."""
    attachments: tuple[Attachment, ...] = ()
    """By name. Of a running instance: what it has, and what it is about to get."""
    addresses: tuple[Reserved, ...] = ()
    """Those that the instance has, sorted."""
    nvram: str = ""
    """The firmware that the domain's NVRAM was made for; empty while there is none."""
    home: str = ""
    """The node that it has been moved to last; empty if it never was."""
    epoch: int = 0
    """How often it has been moved: of two copies the one with the higher number counts."""
    migration: Migration | None = None

    def recorded(self, uid: str) -> Recorded | None:
        return next((entry for entry in self.operations if entry.uid == uid), None)

    def with_operation(self, entry: Recorded) -> DomainMetadata:
        others = tuple(other for other in self.operations if other.uid != entry.uid)
        return replace(self, operations=(*others, entry)[-KEPT_OPERATIONS:])


def to_xml(metadata: DomainMetadata) -> str:
    """The element as text, the same for equal values."""
    root = etree.Element(_TAG + "vm", nsmap={PREFIX: NAMESPACE})
    for name in ("fleet", "namespace", "name", "uid", "created", "source", "instance"):
        root.set(name, getattr(metadata, name))
    root.set("generation", str(metadata.generation))
    if metadata.nvram:
        root.set("nvram", metadata.nvram)
    if metadata.epoch:
        root.set("home", metadata.home)
        root.set("epoch", str(metadata.epoch))
    _write_power(root, metadata.power)
    for name in ("labels", "annotations", "spec"):
        etree.SubElement(root, _TAG + name).text = _text(getattr(metadata, name))
    _list(root, "attachment", metadata.attachments, _OF_ATTACHMENTS)
    _list(root, "address", metadata.addresses, _OF_ADDRESSES)
    for entry in metadata.operations:
        _write_operation(root, entry)
    if metadata.migration is not None:
        _write_migration(root, metadata.migration)
    return etree.tostring(root, encoding="unicode")


def _list(
    root: etree._Element, tag: str, entries: tuple[object, ...], names: tuple[str, ...]
) -> None:
    """An element each, with these of its fields as attributes."""
    for entry in entries:
        item = etree.SubElement(root, _TAG + tag)
        for name in names:
            item.set(name, getattr(entry, name))


def _write_power(root: etree._Element, power: Power) -> None:
    item = etree.SubElement(root, _TAG + "power")
    item.set("state", "on" if power.on else "off")
    item.set("by", power.by)
    item.set("at", str(power.at))
    item.set("instance", power.instance)


def _write_operation(root: etree._Element, entry: Recorded) -> None:
    item = etree.SubElement(root, _TAG + "operation")
    for name in ("uid", "type", "target"):
        item.set(name, getattr(entry, name))
    item.set("at", str(entry.at))
    for flag in ("force", "cancelled", "done"):
        if getattr(entry, flag):
            item.set(flag, "yes")
    if entry.failed:
        item.set("failed", entry.failed)


def _write_migration(root: etree._Element, migration: Migration) -> None:
    item = etree.SubElement(root, _TAG + "migration")
    for name in ("operation", "source", "target"):
        item.set(name, getattr(migration, name))
    item.set("at", str(migration.at))
    item.set("epoch", str(migration.epoch))
    for flag in ("converge", "cold"):
        if getattr(migration, flag):
            item.set(flag, "yes")
    if migration.taken:
        item.set("taken", migration.taken)


def from_domain(root: etree._Element) -> DomainMetadata | None:
    """The metadata in a domain's XML; None if there is none or it is not whole."""
    element = first(root, "metadata", _TAG + "vm")
    return None if element is None else from_element(element)


def from_element(element: etree._Element) -> DomainMetadata | None:
    power = first(element, _TAG + "power")
    try:
        if power is None:
            return None
        return DomainMetadata(
            fleet=_attribute(element, "fleet"),
            namespace=_attribute(element, "namespace"),
            name=_attribute(element, "name"),
            uid=_attribute(element, "uid"),
            created=_attribute(element, "created"),
            generation=int(_attribute(element, "generation")),
            source=_attribute(element, "source"),
            instance=_attribute(element, "instance"),
            nvram=element.get("nvram", ""),
            power=Power(
                on=_attribute(power, "state") == "on",
                by=_attribute(power, "by"),
                at=int(_attribute(power, "at")),
                instance=_attribute(power, "instance"),
            ),
            labels=_json(element, "labels"),
            annotations=_json(element, "annotations"),
            spec=_json(element, "spec"),
            operations=tuple(
                Recorded(
                    uid=_attribute(item, "uid"),
                    type=_attribute(item, "type"),
                    force=item.get("force") == "yes",
                    target=_attribute(item, "target"),
                    at=int(_attribute(item, "at")),
                    cancelled=item.get("cancelled") == "yes",
                    done=item.get("done") == "yes",
                    failed=item.get("failed", ""),
                )
                for item in every(element, _TAG + "operation")
            ),
            attachments=tuple(
                Attachment(**{name: _attribute(item, name) for name in _OF_ATTACHMENTS})
                for item in every(element, _TAG + "attachment")
            ),
            addresses=tuple(
                Reserved(**{name: _attribute(item, name) for name in _OF_ADDRESSES})
                for item in every(element, _TAG + "address")
            ),
            home=element.get("home", ""),
            epoch=int(element.get("epoch", "0")),
            migration=_migration(first(element, _TAG + "migration")),
        )
    except (KeyError, TypeError, ValueError):
        return None  # edited by hand: as if it had none


@dataclass(frozen=True)
class Remembered:
    """An address that some domain has, and the machine whose domain that is."""

    fleet: str
    namespace: str
    machine: str
    reserved: Reserved


def addresses(xml: str) -> frozenset[Remembered]:
    """The addresses that a domain's XML says are reserved for it. Found without parsing: most
    domains are read again and again, and have the same.
    """
    found = [Reserved(**pairs) for text in _ADDRESS.findall(xml) if (pairs := _pairs(text))]
    machine = _MACHINE.search(xml) if found else None
    if machine is None:
        return frozenset()
    of = dict(_PAIR.findall(machine[1]))
    named = (of.get("fleet", ""), of.get("namespace", ""), of.get("name", ""))
    return frozenset(Remembered(*named, each) for each in found)


def macs(xml: str) -> frozenset[str]:
    """MAC addresses of a domain's interfaces, in lower case."""
    return frozenset(found.lower() for found in _MAC.findall(xml))


def _pairs(text: str) -> dict[str, str]:
    """The attributes of an address; empty where they are not whole."""
    pairs = dict(_PAIR.findall(text))
    return pairs if sorted(pairs) == sorted(_OF_ADDRESSES) else {}


def _migration(item: etree._Element | None) -> Migration | None:
    if item is None:
        return None
    return Migration(
        operation=_attribute(item, "operation"),
        source=_attribute(item, "source"),
        target=_attribute(item, "target"),
        at=int(_attribute(item, "at")),
        epoch=int(_attribute(item, "epoch")),
        converge=item.get("converge") == "yes",
        cold=item.get("cold") == "yes",
        taken=item.get("taken", ""),
    )


def _text(value: Mapping[str, Json]) -> str:
    """JSON that XML 1.0 can carry: what it forbids stands escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _json(element: etree._Element, name: str) -> Mapping[str, Json]:
    child = first(element, _TAG + name)
    return _object((child is not None and child.text) or "{}")


@lru_cache(maxsize=16)  # both definitions of a domain mostly say the same
def _object(text: str) -> Mapping[str, Json]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _attribute(element: etree._Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise KeyError(name)
    return value
