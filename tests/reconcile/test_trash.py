"""What was deleted: what can come back, and from when on it may be erased."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.ledger import Record
from agent.core.model import Json, Key, Manifest, Object
from agent.core.status import seconds, timestamp
from agent.reconcile.outbox import Outbox
from agent.reconcile.trash import Trash

KEY = Key("VirtualDisk", "default", "disk")
NOW = 1000.0


def record(uid: str = "uid", deleted: float = NOW, name: str = "disk", **status: Json) -> Record:
    key = KEY._replace(name=name)
    obj = Object(Manifest(key, {}, {}, {}), uid, 1, "", "c:f", timestamp(deleted))
    return Record(obj, status)


class Written(Trash):
    """A trash with the outbox that it tells of its changes."""

    def __init__(self, *entries: Record) -> None:
        self.outbox = Outbox()
        super().__init__(self.outbox)
        known = {each.obj.uid: each for each in entries}
        self.load(known)
        self.outbox.load({}, known)

    @property
    def unsaved(self) -> dict[str, Key]:
        """What is to be written; it is not taken."""
        found = dict(self.outbox.take_batch().trash)
        self.outbox.failed()
        return found


def trash(*entries: Record) -> Written:
    """With entries that the status branch knows."""
    return Written(*entries)


def write(made: Written) -> None:
    """The status branch takes all in."""
    made.outbox.take_batch()
    made.outbox.written()


def test_what_is_put_in_keeps_what_lasts() -> None:
    made = trash()
    made.put(
        record(
            phase="Ready",
            capacity="1Gi",
            progress="50%",
            attachedToVirtualMachines=[{"name": "vm"}],
            conditions=[],
        ),
        NOW,
    )
    status = made.entries["uid"].status
    assert (status["phase"], status["capacity"]) == ("Deleted", "1Gi")
    assert not {"attachedToVirtualMachines", "progress"} & status.keys()
    assert [each["type"] for each in status["conditions"]] == ["Deleted"]
    assert made.unsaved == {"uid": KEY}


def test_an_entry_is_erased_only_after_the_status_branch_has_said_so() -> None:
    made = trash(record(phase="Deleted"))
    assert not made.erasing("uid")
    made.keep("uid", "InUse", "domain x uses it", NOW)
    made.outbox.take_batch()
    made.mark("uid", NOW)
    assert not made.erasing("uid")
    made.outbox.written()  # what was written is what stood there before the mark
    assert not made.erasing("uid")
    write(made)
    assert made.erasing("uid")
    made.keep("uid", "InUse", "domain x uses it", NOW + 1)
    assert not made.erasing("uid")
    write(made)
    assert made.erasing("uid")
    assert not made.erasing("unknown")


def test_what_the_branch_says_already_is_said_once() -> None:
    made = trash(record(phase="Deleted"))
    made.mark("uid", NOW)
    write(made)
    made.mark("uid", NOW + 100)
    assert not made.unsaved
    assert made.erasing("uid")


def test_why_an_entry_stays_does_not_change_what_becomes_of_it() -> None:
    made = trash(record(phase="Deleted"), record("erased", phase="Erasing"))
    for uid, phase in (("uid", "Deleted"), ("erased", "Erasing")):
        made.keep(uid, "InUse", "domain x uses it", NOW)
        status: Any = made.entries[uid].status
        assert status["phase"] == phase
        assert (status["conditions"][0]["reason"], status["conditions"][0]["message"]) == (
            "InUse",
            "domain x uses it",
        )


def test_what_was_removed_is_to_be_removed_from_the_branch() -> None:
    made = trash(record(phase="Erasing"))
    assert made.erasing("uid")
    made.remove("uid")
    assert (made.entries, made.unsaved) == ({}, {"uid": KEY})
    made.remove("unknown")
    assert made.unsaved == {"uid": KEY}
    made.put(record(phase="Erasing"), NOW)
    assert not made.erasing("uid")


def test_loading_forgets_what_was_not_saved() -> None:
    made = trash()
    made.put(record(), NOW)
    made.load({})
    made.outbox.load({}, ())
    assert (made.entries, made.unsaved) == ({}, {})


def test_the_newest_with_data_comes_back_first() -> None:
    made = trash(
        record("empty", NOW + 3, phase="Deleted"),
        record("old", NOW + 1, phase="Deleted", capacity="1Gi", conditions=[]),
        record("new", NOW + 2, phase="Deleted", capacity="1Gi"),
        record("erasing", NOW + 4, phase="Erasing", capacity="1Gi"),
        record("another", NOW + 5, "another", phase="Deleted", capacity="1Gi"),
    )
    found = made.restorable(KEY)
    assert [each.obj.uid for each in found] == ["new", "old", "empty"]
    assert [each.status["phase"] for each in found] == ["Ready", "Ready", "Pending"]
    assert not any("conditions" in each.status for each in found)


@pytest.mark.parametrize(
    ("conditions", "since"),
    [
        ([], NOW),
        ([{"type": "Ready", "lastTransitionTime": timestamp(NOW + 50)}], NOW),
        (
            [
                {"type": "Ready", "lastTransitionTime": timestamp(NOW + 50)},
                {"type": "Deleted", "lastTransitionTime": timestamp(NOW + 60)},
            ],
            NOW + 60,
        ),
    ],
)
def test_the_time_counts_from_the_deletion(conditions: list[Json], since: float) -> None:
    each = record(conditions=conditions)
    assert trash(each).due(each, 100.0) == since + 100.0
    assert seconds(timestamp(NOW)) == NOW


def test_what_was_replaced_is_told_of_once_it_is_written_down() -> None:
    outbox, told = Outbox(), dict[Key, tuple[tuple[str, str], ...]]()
    made = Trash(outbox, told.__setitem__)
    outbox.take_batch()  # a write is under way that says nothing of it
    made.put(record("old", capacity="1Gi"), NOW, replaced_by="back")
    made.put(record("other", name="else", capacity="1Gi"), NOW)
    for _ in range(2):
        outbox.written()
        made.written()
    assert told.get(KEY, ()) == ()
    outbox.take_batch()
    outbox.written()
    made.written()
    assert told == {KEY: (("old", "back"),)}
    again = Trash(outbox, told.__setitem__)
    told.clear()
    again.load(made.entries)
    assert told == {KEY: (("old", "back"),)}
    taken = again.take("old")
    assert taken is not None
    assert taken.status == {"capacity": "1Gi", "phase": "Ready", "observedGeneration": 1}
    assert told == {KEY: ()}
    assert again.take("old") is None
