"""Backups of running domains: libvirt's push backup fills volumes that are flat, and leaves the
domain's own files as they are. Functions here may raise libvirtError; HostError where they know
better.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import libvirt
from lxml import etree

from agent.core.backup import (
    NAMESPACE,
    PREFIX,
    TAG,
    THAWED_WITHIN,
    Backup,
    Mark,
    Source,
    mark_of,
    mark_xml,
)
from agent.core.host import HostError
from agent.core.model import Json
from agent.hypervisor.verbs import find
from agent.hypervisor.xml import parse, text_at

_PROGRAM = Path(__file__).with_name("freezing.py")
_DEADLINE = 60.0
"""Seconds after which the helper, which must have ended long ago, is given up."""
_SHORTEST_PAUSE = 0.02
"""Seconds between two looks at a job at least: libvirt has no call that waits for one."""
_SHARE = 0.03
"""Of the time that it has taken so far."""
_LAST = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
_NOT_RUNNING = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)
_COPYING = ("<mirror ", "<mirror>")
"""What shows that somebody copies or merges a disk of a running domain."""


def begin(
    connection: libvirt.virConnect, uuid: str, of: str, sources: Sequence[Source], required: bool
) -> None:
    """Have the helper begin it."""
    domain = connection.lookupByUUIDString(uuid)
    xml = domain.XMLDesc(0)
    if any(mark in xml for mark in _COPYING):
        raise HostError("DomainBusy", f"somebody copies or merges a disk of {domain.name()}")
    order = {
        "uri": connection.getURI(),
        "uuid": uuid,
        "of": of,
        "xml": _job(xml, domain.name(), sources),
        "required": required,
        "limit": THAWED_WITHIN,
        "tag": TAG,
        "prefix": PREFIX,
        "namespace": NAMESPACE,
    }
    answer = _helped(order)
    if answer:
        message = f"cannot begin a backup of {domain.name()}: {answer['message']}"
        raise HostError(answer["reason"] or "HypervisorError", message)


def _helped(order: Mapping[str, Json]) -> Mapping[str, str]:
    """What the helper answers. It is in a session of its own: what ends the agent ends it not."""
    with subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as helper:
        try:
            said, _ = helper.communicate(json.dumps(order).encode(), _DEADLINE)
        except subprocess.TimeoutExpired:
            helper.kill()
            said = b""
    try:
        answer: Mapping[str, str] = json.loads(said)
    except ValueError as error:
        message = "the helper that begins a backup has ended without a word"
        raise HostError("BackupInterrupted", message) from error
    return answer


def _job(xml: str, name: str, sources: Sequence[Source]) -> str:
    wanted = {source.serial: source for source in sources}
    root = etree.Element("domainbackup", mode="push")
    disks = etree.SubElement(root, "disks")
    for disk in parse(xml).iterfind("devices/disk"):
        target = disk.find("target")
        if target is None:
            continue
        entry = etree.SubElement(disks, "disk", name=target.get("dev", ""), backup="no")
        source = wanted.get(text_at(disk, "serial"))
        if source is None or disk.find("readonly") is not None:
            continue
        _check(disk, source, name)
        del wanted[source.serial]
        entry.set("backup", "yes")
        entry.set("type", "file" if disk.get("type") == "file" else "block")
        kind = "file" if disk.get("type") == "file" else "dev"
        etree.SubElement(entry, "target", {kind: source.target})
        etree.SubElement(entry, "driver", type=source.format)
    if wanted:
        missing = ", ".join(source.path for source in wanted.values())
        raise HostError("DiskNotThere", f"domain {name} does not have {missing} open")
    return etree.tostring(root, encoding="unicode")


def _check(disk: etree._Element, source: Source, name: str) -> None:
    at = disk.find("source")
    path = "" if at is None else at.get("file") or at.get("dev") or ""
    if path != source.path:
        raise HostError(
            "DiskMoved", f"a disk of domain {name} lies on {path or 'another source'} by now"
        )


def awaited(look: Callable[[], Backup | None], seconds: float) -> Backup | None:
    """What is seen as soon as no job is under way, or after so many seconds."""
    begun = time.monotonic()
    while (seen := look()) is not None and seen.running:
        waited = time.monotonic() - begun
        if waited >= seconds:
            break
        time.sleep(max(_SHORTEST_PAUSE, waited * _SHARE))
    return seen


def state(connection: libvirt.virConnect, uuid: str) -> Backup | None:
    """What the domain shows; None if it does not run."""
    domain = find(connection, uuid)
    if domain is None:
        return None
    try:
        running = under_way(domain)
        mark = mark_of(domain.XMLDesc(0))
        if running:
            return Backup(mark, running=True)
        return _ended(domain, mark)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_RUNNING:
            raise
        return None


def under_way(domain: libvirt.virDomain) -> bool:
    """True while a job goes on that may take long, such as a backup, whosever it is."""
    now: Json = domain.jobStats(0)
    return bool(now.get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE)


def _ended(domain: libvirt.virDomain, mark: Mark | None) -> Backup:
    last: Json = {}
    with contextlib.suppress(libvirt.libvirtError):  # a daemon that was restarted knows none
        last = domain.jobStats(_LAST)
    ours = last.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
    if not ours:
        return Backup(mark, running=False, error="the host does not know how the job has ended")
    succeeded = bool(last.get("success", last.get("type") == libvirt.VIR_DOMAIN_JOB_COMPLETED))
    error = "" if succeeded else str(last.get("errmsg") or "the job was ended by somebody")
    return Backup(mark, running=False, succeeded=succeeded, error=error)


def end(connection: libvirt.virConnect, uuid: str, of: str) -> None:
    """Take back the mark of a backup, and end its job."""
    domain = find(connection, uuid)
    with _unless_off():
        mark = None if domain is None else mark_of(domain.XMLDesc(0))
        if domain is None or mark is None or mark.of != of:
            return
        stats: Json = domain.jobStats(0)
        if mark.begun and stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
            with _unless_off():  # or ended in this moment: the mark goes all the same
                domain.abortJob()
        if mark.frozen:
            domain.fsThaw()
        _write(domain, None)


def thaw(connection: libvirt.virConnect, uuid: str) -> None:
    """Thaw what a helper may have left frozen."""
    domain = find(connection, uuid)
    with _unless_off():
        mark = None if domain is None else mark_of(domain.XMLDesc(0))
        if domain is None or mark is None or not mark.frozen:
            return
        domain.fsThaw()
        rest = Mark(mark.of, mark.at, frozen=False, begun=True, consistent=mark.consistent)
        _write(domain, mark_xml(rest) if mark.begun else None)


def _write(domain: libvirt.virDomain, element: str | None) -> None:
    text: Json = element  # none takes it away
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        text,
        PREFIX,
        NAMESPACE,
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )


@contextlib.contextmanager
def _unless_off() -> Iterator[None]:
    """An instance that has ended takes all of it along."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_RUNNING:
            raise
