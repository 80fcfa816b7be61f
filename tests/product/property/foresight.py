"""Whether what a plan said of a push is what then happened, worked out from the host's own account and the status branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.reconcile.plans.items import Item, PlanReport
from tests.product.faults import Turn

CATALOGUE = Catalogue.load()
END = "End"
"""An instance ends, by the power button or by force."""
VERBS = {
    "define": "DefineDomain",
    "undefine": "UndefineDomain",
    "grow_disk": "GrowDisk",
    "attach_device": "AttachDevice",
    "detach_device": "DetachDevice",
}
VOLUMES = {"create_volume": "CreateVolume", "resize_volume": "ResizeVolume"}
WORDS = {"DefineDomain", "WriteSeed", "DeleteSeed"}
"""What is done to a definition and its medium: nobody is disturbed."""
MADE = ("create", "restore", "blocked")
ON = ("Running", "Pause")


@dataclass(frozen=True)
class Moment:
    """The objects of the status branch, by key."""

    objects: Mapping[Key, dict[str, Any]]

    @classmethod
    def of(cls, documents: Iterable[dict[str, Any]]) -> Moment:
        found = {}
        for each in documents:
            metadata = each["metadata"]
            found[Key(each["kind"], metadata.get("namespace", ""), metadata["name"])] = each
        return cls(found)

    def phase(self, key: Key) -> str:
        return (
            str(self.objects[key].get("status", {}).get("phase", "")) if key in self.objects else ""
        )

    def pending(self, key: Key) -> set[str]:
        """Fields that wait for a restart."""
        status = self.objects.get(key, {}).get("status", {})
        return {_field(each["path"]) for each in status.get("restartAwaitingChanges", ())}

    @property
    def there(self) -> set[Key]:
        """What people have declared: plans do not list what the agent makes for that by itself."""
        return {
            key
            for key, document in self.objects.items()
            if self.phase(key) != "Terminating"
            and "ownerReferences" not in document["metadata"]
            and not CATALOGUE.kinds[key.kind].lock
        }


@dataclass(frozen=True)
class Deeds:
    """What was done between two moments."""

    before: Moment
    after: Moment
    verbs: tuple[tuple[str, str], ...]
    turns: tuple[Turn, ...]
    domains: Mapping[str, Key]
    """Machines by the UUID of their domain."""

    def of(self, key: Key) -> set[str]:
        return {verb for owner, verb in self._all() if owner == key}

    def touched(self) -> set[Key]:
        return {owner for owner, _ in self._all()}

    def _all(self) -> Iterator[tuple[Key, str]]:
        for turn in self.turns:
            if turn.uuid in self.domains:
                yield self.domains[turn.uuid], "StartDomain" if turn.on else END
        for verb, subject in self.verbs:
            if subject in self.domains and verb in VERBS:
                yield self.domains[subject], VERBS[verb]
            elif "_disk_" in subject and verb in VOLUMES:
                yield self._owner(subject), VOLUMES[verb]
            elif "_seed_" in subject and verb in ("create_volume", "delete_volume"):
                yield self._owner(subject), "WriteSeed" if verb == "create_volume" else "DeleteSeed"

    def _owner(self, volume: str) -> Key:
        (found,) = {
            key
            for moment in (self.before, self.after)
            for key, each in moment.objects.items()
            if each["metadata"]["uid"] in volume
        }
        return found


def _field(path: str) -> str:
    return path.partition(".")[0]


def _verbs(item: Item) -> set[str]:
    words = {"ShutdownDomain": END, "DestroyDomain": END}
    shown = {words.get(verb, verb) for verb in item.actions}
    return shown - {"ImportImage", "DeleteConsoleLog"}


def differences(report: PlanReport, deeds: Deeds, *, live: bool) -> list[str]:
    """Where plan and deed are not the same, in words. What a definition says at present, and whether its medium is there, is known
    only live.
    """
    items = {item.key: item for item in report.items}
    found = []
    for key in sorted(items.keys() | deeds.touched()):
        said, done = _verbs(items[key]) if key in items else set(), deeds.of(key)
        if not live:
            said, done = said - WORDS, done - WORDS
        if said != done:
            found.append(f"{key}: planned {sorted(said)}, done {sorted(done)}")
    before, after = deeds.before, deeds.after
    made = {key for key, item in items.items() if item.operation in MADE} - before.there
    if made != after.there - before.there:
        found.append(f"planned to create {sorted(made)}, made {sorted(after.there - before.there)}")
    gone = {key for key, item in items.items() if item.operation == "delete"}
    if gone != before.there - after.there:
        found.append(f"planned to delete {sorted(gone)}, gone {sorted(before.there - after.there)}")
    for key in before.there & after.there:
        found += _restarts(items.get(key), key, deeds)
    return found


def _restarts(item: Item | None, key: Key, deeds: Deeds) -> Iterator[str]:
    """Of a machine that goes on: what is planned for its restart is what waits afterwards."""
    if deeds.after.phase(key) not in ON or END in deeds.of(key):
        return
    planned = {_field(change.path) for change in item.restart} if item else set()
    waits, waited = deeds.after.pending(key), deeds.before.pending(key)
    if not waits - waited <= planned <= waits:
        yield f"{key}: planned for a restart {sorted(planned)}, waits {sorted(waits)}, waited {sorted(waited)}"
