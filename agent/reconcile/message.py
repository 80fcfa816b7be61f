"""What a commit of the status branch says: its subject is what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from agent.core import nodes
from agent.core.changes import sentence
from agent.core.model import Json, Key
from agent.core.overview import AWAITING_RESTART, LIMITS, NOTES, Weight, weight
from agent.core.schema import Catalogue, Kind
from agent.core.tables import printable

LONGEST = 72
LISTED = 50
"""Objects that the body of one commit names."""
LONG_FACT = 160
LONG_NAME = 60
FACTS = 3
"""Facts of one object in one line."""


@dataclass(frozen=True)
class Update:
    """What is new about one object, in facts: `10.0.2.15`, `ended by hand, started again`."""

    facts: tuple[str, ...] = ()
    telling: bool = False
    """True if people wait for it, as opposed to a mere detail."""


@dataclass(frozen=True)
class Event:
    """What is new about one object. `phases` are those that it went through, the one before
    first; empty where there is none.
    """

    key: Key
    phases: tuple[str, ...]
    gone: bool = False
    update: Update = field(default_factory=Update)

    @property
    def moved(self) -> bool:
        return self.gone or len(set(self.phases)) > 1

    @property
    def telling(self) -> bool:
        """True if people wait for it."""
        return self.moved or self.update.telling

    def told(self, kind: Kind) -> str:
        """A line about it; `kind` is the object's."""
        return f"{kind.label(self.key)}: {', '.join(self._said())}"

    def _said(self) -> Iterator[str]:
        if self.gone:
            yield "deleted"
            return
        facts = self.update.facts[:FACTS]
        back = self.phases[:1] == self.phases[-1:]
        if self.moved and not (back and facts):
            yield " → ".join(phase for phase in self.phases if phase) or "accepted"
        elif not facts:
            yield "status brought up to date"
        yield from facts


def joined(events: Iterable[Event]) -> list[Event]:
    """One event an object: the way that it went, and what is new in the end."""
    last: dict[Key, Event] = {}
    for event in events:
        known = last.get(event.key)
        last[event.key] = event if known is None or event.gone else _after(known, event)
    return list(last.values())


def _after(one: Event, other: Event) -> Event:
    steps = [*one.phases, *other.phases]
    way = tuple(step for step, before in zip(steps, [None, *steps], strict=False) if step != before)
    facts = tuple(dict.fromkeys((*one.update.facts, *other.update.facts)))
    update = Update(facts, one.update.telling or other.update.telling)
    return Event(other.key, way, other.gone, update)


def by(author: str, told: Update) -> Update:
    """The same, with who asked for it; `author` is `Name <address>`, or empty."""
    name = printable(" ".join(author.partition(" <")[0].split()))
    if not name:
        return told
    return Update((f"asked for by {_cut(name, LONG_NAME)}", *told.facts), telling=True)


# -- facts ------------------------------------------------------------------------------------


def updated(before: Mapping[str, Json], after: Mapping[str, Json]) -> Update:
    """What is new in a status, as somebody would tell it."""
    facts: dict[str, None] = {}
    telling = False
    phase = str(after.get("phase", ""))
    old = {condition["type"]: condition for condition in before.get("conditions", ())}
    new = {condition["type"]: condition for condition in after.get("conditions", ())}
    for kind in sorted(old.keys() | new.keys()):
        was, now = old.get(kind), new.get(kind)
        if now is None and phase == TERMINATING:
            continue  # nobody looks at it any more, and nothing was mended
        turned = (was or {}).get("status") != (now or {}).get("status")
        telling = telling or turned
        facts |= dict.fromkeys(_turned(kind, was, now) if turned else _other_words(was, now))
        if now is not None and kind != RUNNING and weight(now, phase) is Weight.UNDER_WAY:
            for phrase in _phrase(now["message"]):
                facts.pop(phrase, None)  # the phase tells it
    for name, tell in _FIELDS.items():
        if (name in after or name in before) and before.get(name) != after.get(name):
            facts |= dict.fromkeys(tell(before.get(name), after.get(name)))
    if not facts and before and before.get("observedGeneration") != after.get("observedGeneration"):
        facts["changed by its manifest"] = None
    return Update(tuple(facts), telling)


def _other_words(was: Mapping[str, Json] | None, now: Mapping[str, Json] | None) -> Iterator[str]:
    if was and now and was["message"] != now["message"] and now["type"] not in _QUIET:
        yield from _phrase(now["message"])


TERMINATING = "Terminating"
RUNNING = "Running"
"""The condition that tells how an instance ended, also while the next one starts."""
_QUIET = AWAITING_RESTART | NOTES | LIMITS
"""Conditions that are told otherwise, or stand there from the start to the end."""
_TURNED = {
    ("AgentReady", "True"): "the guest agent answers",
    ("AgentReady", "False"): "the guest agent is gone",
    ("InUse", "True"): "in use",
    ("InUse", "False"): "not in use any more",
    ("Completed", "True"): "",
    ("Ready", "True"): "",
    ("Running", "True"): "",
    ("SignalSent", "True"): "",
    ("Suspended", "True"): "suspended",
    ("Suspended", ""): "no longer suspended",
    ("DriftDetected", ""): "as its manifest says again",
}


def _turned(
    kind: str, was: Mapping[str, Json] | None, now: Mapping[str, Json] | None
) -> Iterator[str]:
    state = now["status"] if now else ""
    known = _TURNED.get((kind, state))
    if known is not None:
        if known and (was or state == "True"):
            yield known
    elif kind in _QUIET:
        return
    elif now is not None and now["message"]:
        yield from _phrase(now["message"])
    elif was is not None and was["message"] and (now is None or state == "True"):
        yield f"{_words(kind)}: no problem any more" if now is None else _words(kind)


def _phrase(message: str) -> Iterator[str]:
    """A sentence as it stands behind a name and a colon."""
    text = printable(" ".join(message.split()))
    if len(text) > LONG_FACT:
        text = text[: LONG_FACT - 1] + "…"
    if text:
        first = text.split(" ")[0]
        plain = first[:1].isupper() and first[1:].islower()
        yield (text[0].lower() + text[1:] if plain else text).removesuffix(".")


def _words(name: str) -> str:
    """A condition's type in words: `BlockDevicesReady` is `block devices ready`."""
    marks = [sign.isupper() and not before.isupper() for before, sign in pairwise(name)]
    spaced = "".join(
        f" {sign}" if mark else sign for sign, mark in zip(name, [False, *marks], strict=True)
    )
    return spaced.lower()


def _address(_: Json, now: Json) -> Iterator[str]:
    yield printable(str(now)) if now else "without an address"


def _system(_: Json, now: Json) -> Iterator[str]:
    name = now.get("prettyName") or now.get("name") if isinstance(now, Mapping) else ""
    if name:
        yield f"runs {printable(str(name))}"


def _waiting(before: Json, now: Json) -> Iterator[str]:
    if not now:
        yield "waits for no restart any more"
    for change in now or ():
        if change not in (before or ()):
            yield f"{printable(sentence(change))} waits for a restart"


def _attached(before: Json, now: Json) -> Iterator[str]:
    known = {machine["name"] for machine in before or ()}
    there = {machine["name"] for machine in now or ()}
    yield from (f"used by {name}" for name in sorted(there - known))
    yield from (f"not used by {name} any more" for name in sorted(known - there))


def _devices(before: Json, now: Json) -> Iterator[str]:
    old, new = (
        {f"{ref['kind']} {ref['name']}" for ref in refs or () if ref.get("attached")}
        for refs in (before, now)
    )
    yield from (f"{name} attached" for name in sorted(new - old) if old)
    yield from (f"{name} detached" for name in sorted(old - new) if new)


def _versions(before: Json, now: Json) -> Iterator[str]:
    if before and now:
        yield ", ".join(f"{name} {version}" for name, version in sorted(now.items()))


def _progress(_: Json, now: Json) -> Iterator[str]:
    if now not in ("", None, "0%", "100%"):
        yield f"{now} done"


def _capacity(before: Json, now: Json) -> Iterator[str]:
    """A disk's is a size, a node's are several by name: those are told when they change."""
    if isinstance(now, Mapping):
        known = before if isinstance(before, Mapping) else {}
        for name, size in sorted(now.items()):
            if name in known and known[name] != size:
                yield printable(f"{name} {known[name]} → {size}")
    elif now:
        yield f"{before} → {now}" if before else str(now)


def _node(before: Json, now: Json) -> Iterator[str]:
    if before and now:
        yield f"now on {now}"


_FIELDS = {
    "ipAddress": _address,
    "guestOSInfo": _system,
    "restartAwaitingChanges": _waiting,
    "nodeName": _node,
    "progress": _progress,
    "capacity": _capacity,
    "blockDeviceRefs": _devices,
    "attachedToVirtualMachines": _attached,
    "versions": _versions,
}
"""What is told of a field, from its values before and after."""


# -- the commit -------------------------------------------------------------------------------


def of_agent(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    """What is new of the agent itself, from two versions of agent.yaml."""
    said: list[str] = []
    parts = [("repository", before.get("repository") or {}, after.get("repository") or {})]
    known = {node["name"]: node for node in nodes.told(before)}
    parts[:0] = [
        (f"node {node['name']}", known.get(node["name"], {}), node) for node in nodes.told(after)
    ]
    for what, was, now in parts:
        if now.get("message") and now["message"] != was.get("message"):
            said.extend(f"{what}: {phrase}" for phrase in _phrase(str(now["message"])))
        elif was.get("message") and not now.get("message"):
            said.append(f"{what}: ready again")
    for name, how in (("applied", "applied"), ("attempted", "under way")):
        revision = (after.get(name) or {}).get("revision", "")
        if revision and revision != (before.get(name) or {}).get("revision"):
            said.append(f"{how} {revision[:12]}" if name == "applied" else f"{revision[:12]} {how}")
            break
    return said


def compose(
    catalogue: Catalogue, events: Iterable[Event], revision: str, extra: Iterable[str] = ()
) -> str:
    """Subject, all that happened where that is more, and trailers."""
    kinds = catalogue.kinds
    told = sorted(joined(events), key=lambda event: _rank(event, kinds[event.key.kind]))
    lines = [*(event.told(kinds[event.key.kind]) for event in told), *extra]
    more = f" (+{len(lines) - 1} more)" if len(lines) > 1 else ""
    subject = _cut(lines[0] if lines else "Brought up to date", LONGEST - len(more)) + more
    body = "\n".join(f"- {line}" for line in lines[:LISTED]) if [subject] != lines else ""
    trailers = f"Source-Revision: {revision}" if revision else ""
    return "\n\n".join(part for part in (subject, body, "[skip ci]", trailers) if part) + "\n"


def about(label: str, subject: str, body: str) -> str:
    """What a commit says of one object; its subject where it names the object nowhere."""
    start = f"{label}: "
    for line in body.splitlines():
        if line.startswith(f"- {start}"):
            return line.removeprefix(f"- {start}")
    return subject.removeprefix(start)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _rank(event: Event, kind: Kind) -> tuple[bool, bool, bool, bool, int, Key]:
    """What moved first, and what people wait for; machines, and what was asked of them."""
    first = (not event.moved, not event.telling, not kind.machine, not kind.request)
    return *first, kind.order, event.key
