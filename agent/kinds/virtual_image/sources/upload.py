"""Data that somebody uploads to a node, with `gitvirt upload`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.core.actions import Action, DiscardUpload
from agent.core.facts import View
from agent.core.identity import POOL, Upload, upload, whole_upload
from agent.core.image_sources import UploadSource
from agent.core.jobs import held
from agent.core.known import VOLUME, VOLUMES_OF
from agent.core.model import Object
from agent.core.recognition import DEFAULT_NAMESPACE
from agent.core.status import conditions, seconds
from agent.kinds.local import away, nodes
from agent.kinds.virtual_image.sources.coming import Origin
from agent.kinds.virtual_image.sources.known import known_again

WAITS = "WaitForUserUpload"
TIMEOUT = "WaitForUserUploadTimeout"
REFUSED = "ProvisioningFailed"
LATE = 600.0
"""Seconds after which it is said that nobody has begun."""
_WORDS = {"VirtualImage": "vi", "ClusterVirtualImage": "cvi", "VirtualDisk": "vd"}
_DOING = "The uploaded file is being checked and stored."


@dataclass(frozen=True)
class _Seen:
    node: str
    name: str
    said: Upload
    size: int
    """Bytes that are there."""


def origin(obj: Object, options: Mapping[str, Any], view: View) -> Origin:
    return replace(_origin(obj, options, view), shared=known_again(obj, view))


def _origin(obj: Object, options: Mapping[str, Any], view: View) -> Origin:
    seen = list(_uploads(obj, view))
    marks = {(each.node, each.name) for each in seen if each.said.whole}
    files = [each for each in seen if not each.said.whole]
    command = _command(obj)
    for each in files:
        whole = (each.node, whole_upload(each.name)) in marks
        if whole and each.size == each.said.size:
            source = UploadSource(
                *(each.node, POOL, each.name, each.size, each.said.digest),
                checksums=dict(options.get("checksum", {})),
            )
            return Origin(source, doing=_DOING, near=(each.node,), command=command)
    return _waiting(obj, files, command, view)


def _waiting(obj: Object, files: list[_Seen], command: str, view: View) -> Origin:
    if files:
        most = max(files, key=lambda each: each.size)
        done = most.size * 100 // max(most.said.size, 1)
        message = f"{done} % of the file is here: `{command}` goes on with it if it was cut off."
        return Origin(lacking=message, reason=WAITS, command=command, progress=f"{done}%")
    before = view.previous(obj.key)
    ready = next((each for each in conditions(before) if each.type == "Ready"), None)
    if ready and ready.reason == REFUSED and before.get("uploadCommand"):
        return Origin(lacking=ready.message, reason=REFUSED, command=command)
    late = seconds(obj.created) + LATE
    if view.now < late:
        message = f"A file is waited for: run `{command}`."
        return Origin(lacking=message, reason=WAITS, command=command, wake=late)
    message = f"No upload has begun within 10 minutes. It is still waited for: run `{command}`."
    return Origin(lacking=message, reason=TIMEOUT, command=command)


def refused(why: str, command: str) -> str:
    """What is said of a file that was no use."""
    return f"What was uploaded is refused: {why}. Run `{command}` with another file."


def clearing(obj: Object, view: View) -> tuple[tuple[Action, ...], float | None]:
    """What clears away all that was uploaded for an object, once its data is stored or refused; and
    when to try it again, where it just failed.
    """
    job = view.job(obj.key)
    if job.failed == DiscardUpload.__name__ and held(job, obj.generation, view.now):
        return (), job.retry_at
    seen = sorted(_uploads(obj, view), key=lambda each: (each.said.whole, each.name, each.node))
    return tuple(DiscardUpload(each.node, POOL, each.name) for each in seen), None


def _uploads(obj: Object, view: View) -> Iterator[_Seen]:
    for node in nodes(view):
        if away(view, node):
            continue
        for name in view.read(VOLUMES_OF, (node, obj.uid)) or ():
            said = upload(view.fleet, name)
            volume = view.read(VOLUME, (node, POOL, name))
            if said is not None and volume is not None:
                yield _Seen(node, name, said, volume.physical)


def _command(obj: Object) -> str:
    namespace = obj.key.namespace
    where = f" -n {namespace}" if namespace not in ("", DEFAULT_NAMESPACE) else ""
    return f"gitvirt upload {_WORDS[obj.key.kind]}/{obj.key.name} FILE{where}"
