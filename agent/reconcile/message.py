"""What a commit of the status branch says: its subject is what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Json, Key

LONGEST = 72


@dataclass(frozen=True)
class Event:
    """One object's news. `before` and `after` are phases; empty where there is none."""

    key: Key
    before: str
    after: str
    gone: bool = False
    detail: str = ""
    """What else is new, where the phase is the same."""

    @property
    def telling(self) -> bool:
        """True if people wait for it: a phase, an end, a condition; not a mere detail."""
        return self.gone or self.before != self.after or " " in self.detail

    def __str__(self) -> str:
        name = (
            self.key.name
            if self.key.namespace in ("", "default")
            else f"{self.key.namespace}/{self.key.name}"
        )
        if self.gone:
            return f"{name}: deleted"
        if self.before != self.after:
            return (
                f"{name}: {self.before} → {self.after}"
                if self.before
                else f"{name}: {self.after or 'accepted'}"
            )
        return f"{name}: {self.detail or 'status'}"


def news(before: Mapping[str, Json], after: Mapping[str, Json]) -> str:
    """The first condition that is another one than before: `AgentReady True`; else the field that
    changed.
    """
    known = {each["type"]: each["status"] for each in before.get("conditions", ())}
    for each in after.get("conditions", ()):
        if known.pop(each["type"], None) != each["status"]:
            return f"{each['type']} {each['status']}"
    if known:
        return f"{min(known)} gone"
    changed = sorted(
        name for name in after if after[name] != before.get(name) and name != "conditions"
    )
    return changed[0] if changed else ""


RANK = (
    "VirtualMachine",
    "VirtualMachineOperation",
    "VirtualDisk",
    "VirtualImage",
    "ClusterVirtualImage",
)


def compose(events: list[Event], revision: str, extra: str = "") -> str:
    """Subject, the rest of the events, and trailers."""
    told = sorted(
        events,
        key=lambda event: (event.before == event.after and not event.gone, _rank(event), event.key),
    )
    lines = [str(event) for event in told]
    if extra:
        lines.append(extra)
    subject = lines[0] if lines else "Agent"
    if len(lines) > 1:
        more = f" (+{len(lines) - 1} more)"
        subject = subject[: LONGEST - len(more)] + more
    body = "\n".join(f"- {line}" for line in lines[1:51])
    trailers = f"Source-Revision: {revision}" if revision else ""
    return "\n\n".join(part for part in (subject, body, "[skip ci]", trailers) if part) + "\n"


def _rank(event: Event) -> int:
    return RANK.index(event.key.kind) if event.key.kind in RANK else len(RANK)
