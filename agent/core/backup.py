"""A backup of a running domain's disks: what is asked of a host, and what the domain says of it.

A domain carries a mark of the backup that is made of it, in the metadata of the running instance: a
guest's file systems are frozen for a moment, and whoever finds them so later, whatever became of
the agent and of its helper, thaws them. A guest that somebody else has frozen bears no mark, and is
left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from agent.core.domain_xml import parse
from agent.core.xml import first

NAMESPACE = "https://gitvirt.io/xmlns/backup/1"
PREFIX = "gitvirt-backup"
TAG = "backup"
THAWED_WITHIN = 10.0
"""Seconds for which a guest is frozen at most, as long as the helper is not killed, too."""
GIVEN_UP = 20.0
"""Seconds after which a helper that has not taken back its mark is not there any more."""


@dataclass(frozen=True)
class Source:
    """One disk of a domain, and the volume that is to hold what it holds."""

    serial: str
    path: str
    """What the disk lies on."""
    target: str
    """Path of a volume that is there, empty, and as large as the disk."""
    format: str
    """qcow2 or raw, of the target."""


@dataclass(frozen=True)
class Mark:
    """What a domain says of a backup."""

    of: str
    """Uid of the snapshot that it is for."""
    at: float
    """When it was begun, in seconds since the epoch."""
    frozen: bool
    """True if its guest may be frozen."""
    begun: bool
    """True once the job has begun."""
    consistent: bool
    """True if the guest was frozen at that moment."""


@dataclass(frozen=True)
class Backup:
    """What a host shows of the job that copies a domain's disks."""

    mark: Mark | None
    """None where it is none of ours."""
    running: bool
    """True while the job, or somebody's, is under way."""
    succeeded: bool = False
    """True if the last one came to its end."""
    error: str = ""
    """Why it did not, as far as the host knows."""


def mark_of(domain_xml: str) -> Mark | None:
    """The mark in a running domain's XML."""
    if NAMESPACE not in domain_xml:
        return None
    element = first(parse(domain_xml), "metadata", f"{{{NAMESPACE}}}{TAG}")
    return None if element is None else _mark({str(k): str(v) for k, v in element.attrib.items()})


def without_mark(domain_xml: str) -> str:
    """A running domain's XML as it is once its mark is taken back."""
    root = parse(domain_xml)
    metadata = first(root, "metadata")
    for element in () if metadata is None else list(metadata.iterchildren(f"{{{NAMESPACE}}}{TAG}")):
        metadata.remove(element)  # type: ignore[union-attr]
    return etree.tostring(root, encoding="unicode")


def mark_xml(mark: Mark) -> str:
    """The element, without its namespace: libvirt adds that."""
    root = etree.Element(TAG, of=mark.of, at=f"{mark.at:.0f}")
    for name in ("frozen", "begun", "consistent"):
        root.set(name, "yes" if getattr(mark, name) else "no")
    return etree.tostring(root, encoding="unicode")


def _mark(text: Mapping[str, str]) -> Mark:
    try:
        at = float(text.get("at", ""))
    except ValueError:  # edited by hand
        at = 0.0
    frozen, begun, consistent = (
        text.get(name) == "yes" for name in ("frozen", "begun", "consistent")
    )
    return Mark(text.get("of", ""), at, frozen, begun, consistent)
