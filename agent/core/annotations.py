"""The annotations of gitvirt's own, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from agent.core.documents import Path
from agent.core.human import shown
from agent.core.model import Json
from agent.core.spelling import nearest

MAX_ANNOTATIONS = 256 * 1024
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OURS = "gitvirt.io/"
PRUNE = f"{OURS}prune"
SUSPEND = f"{OURS}reconcile"
DRIFT = f"{OURS}drift"
DISABLED, REPORT = "disabled", "report"
CHOICES: Mapping[str, Sequence[str]] = {
    PRUNE: (DISABLED, "enabled"),
    SUSPEND: (DISABLED, "enabled"),
    DRIFT: (REPORT,),
}
"""Annotations that guard an object, with what they may say: one with a slip of the pen would guard
nothing, and nobody would know.
"""
CONFIRM = f"{OURS}confirm-deletion"
NOT_AFTER = f"{OURS}not-after"
"""On an operation: when it is too late to begin."""
SOURCE = f"{OURS}source"
"""Where an object was accepted from: the agent's own word."""
HTTP_SECRET = f"{OURS}http-secret"
"""On what is downloaded: the Secret with `username` and `password`, or `query`, for its address."""
UNDO = f"{OURS}undo"
"""On an operation of type Restore: the name of the one before, whose disks get back what that has
put into the trash.
"""
SNAPSHOTS = f"{OURS}snapshot-schedule"
"""On a machine: when snapshots of it are taken, and how many of them are kept."""
_SECRET = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
FORCE_DETACH = f"{OURS}force-detach"
"""On a VM: the name of an attachment whose device goes also while its guest has it mounted."""
FENCED = f"{OURS}fenced"
"""On a node: since when it is certainly off, as a person or a fencing tool says."""
EVACUATE = f"{OURS}evacuate"
"""On a node: since when its machines are to leave it."""
FORGET = f"{OURS}forget"
"""On a node that no setting names any more: until when the agent may take it up that nobody is to
hear of it again.
"""
_TIMES = (FENCED, EVACUATE, FORGET)
ANNOTATIONS = frozenset(
    (*CHOICES, *_TIMES, CONFIRM, NOT_AFTER, SOURCE, HTTP_SECRET, FORCE_DETACH, UNDO, SNAPSHOTS)
)


def misused(annotations: Json) -> Iterator[tuple[Path, str]]:
    """What is wrong with `metadata.annotations`, beside what the schema says."""
    if not isinstance(annotations, dict):
        return
    for name, text in annotations.items():
        if name.startswith(OURS) and name not in ANNOTATIONS:
            meant = nearest(name, ANNOTATIONS)
            hint = f": did you mean {meant}?" if meant else ""
            yield ("metadata", "annotations", name), f"is no annotation of gitvirt's{hint}"
        allowed = _annotation(name, text) if isinstance(text, str) else ""
        if allowed:
            yield ("metadata", "annotations", name), f"must be {allowed}, not {shown(text)}"
    size = sum(
        len(name.encode()) + len(text.encode())
        for name, text in annotations.items()
        if isinstance(text, str) and name != LAST_APPLIED
    )
    if size > MAX_ANNOTATIONS:
        yield (
            ("metadata", "annotations"),
            f"must have at most {MAX_ANNOTATIONS // 1024} KiB in all, not {size // 1024} KiB",
        )


def _annotation(name: str, text: str) -> str:
    """What an annotation of gitvirt's has to be; empty if it is."""
    if name in CHOICES and text not in CHOICES[name]:
        return " or ".join(CHOICES[name])
    if name == HTTP_SECRET and not _SECRET.fullmatch(text):
        return "the name of a Secret, for a cluster's image with its namespace: NAMESPACE/NAME"
    if name == SNAPSHOTS:
        from agent.core.schedule import EXAMPLE, schedule  # loads cronsim, which few need

        try:
            schedule(text)
        except ValueError as error:
            return f"when and how many to keep, such as `{EXAMPLE}` ({error})"
    if name in (NOT_AFTER, *_TIMES):
        try:
            known = datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            known = False
        return "" if known else "a time with its zone, such as 2030-01-31T12:00:00Z"
    return ""
