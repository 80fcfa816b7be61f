"""Which of several attachments comes first, where not all can be had."""

from __future__ import annotations

from agent.core.facts import View
from agent.core.known import ATTACHMENTS, PLUGGED, STATUS, USERS
from agent.core.model import Key, Object

MOST_DEVICES = 16
"""Of one VM, those of its spec included."""
FAILED = "Failed"


def rival(attachment: Object, device: Key, view: View) -> Key | None:
    """The attachment that has the disk in this one's place. Images can be had by many."""
    if device.kind != "VirtualDisk":
        return None
    others = [
        other
        for key in view.read(USERS, device) or ()
        if key.kind == attachment.key.kind and key != attachment.key
        if (other := view.object(key)) is not None and not other.deleted
        if _phase(key, view) != FAILED or is_plugged(key, view)
    ]
    first = min((attachment, *others), key=lambda each: _rank(each, view))
    return None if first is attachment else first.key


def has_room(attachment: Object, vm: Object, listed: int, view: View) -> bool:
    """True if a VM has room for it, beside those that come first. What it has already stays."""
    if is_plugged(attachment.key, view):
        return True
    others = [
        other
        for key in view.read(ATTACHMENTS, vm.key) or ()
        if (other := view.object(key)) is not None
        if not other.deleted or is_plugged(key, view)
        if _phase(key, view) != FAILED
    ]
    before = sum(_rank(other, view) < _rank(attachment, view) for other in others)
    return listed + before < MOST_DEVICES


def is_plugged(key: Key, view: View) -> bool:
    """True if the running instance has its device."""
    plugged = view.read(PLUGGED, key)
    return plugged is not None and plugged.present


def _rank(attachment: Object, view: View) -> tuple[bool, bool, str, str]:
    """The smallest comes first: who has it, who was told of already, the older, by name."""
    key = attachment.key
    known = _phase(key, view) not in ("", FAILED)
    return not is_plugged(key, view), not known, attachment.created, key.name


def _phase(key: Key, view: View) -> str:
    phase: str = (view.read(STATUS, key) or {}).get("phase", "")
    return phase
