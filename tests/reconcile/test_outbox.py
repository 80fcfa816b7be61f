"""What is to be written is written once, and again where a write fails."""

from __future__ import annotations

import pytest

from agent.core.model import Key
from agent.reconcile.message import Event
from agent.reconcile.outbox import Outbox

A, B, C = (Key("VirtualDisk", "default", name) for name in "abc")


@pytest.fixture
def box() -> Outbox:
    """A and B stand in the status branch."""
    made = Outbox()
    made.load({A: "1", B: "2"}, ["trashed"])
    return made


def test_what_is_taken_is_not_taken_again(box: Outbox) -> None:
    box.change(C, "3")
    box.remove(B)
    box.trash("trashed", A)
    box.file("plans/x.md", b"page")
    box.tell(Event(C, ("", "Ready")))
    assert (len(box), box.files, box.keys()) == (3, 1, {A, B, C})
    batch = box.take_batch()
    assert (batch.changed, batch.removed, batch.trash) == (
        {C: "3"},
        frozenset({B}),
        {"trashed": A},
    )
    assert (batch.files, len(batch.events)) == ({"plans/x.md": b"page"}, 1)
    assert (len(box), box.files, box.keys(), box.telling) == (0, 0, set(), False)


def test_a_write_that_failed_is_repeated_but_for_what_has_changed_since(box: Outbox) -> None:
    box.change(A, "1")
    box.change(C, "3")
    box.remove(B)
    box.trash("trashed", A)
    box.file("one", b"old")
    box.file("two", b"two")
    box.tell(Event(C, ("", "Ready")))
    box.take_batch()
    box.remove(A)
    box.change(B, "4")
    box.file("one", b"new")
    box.failed()
    batch = box.take_batch()
    assert (batch.changed, batch.removed, batch.trash) == (
        {C: "3", B: "4"},
        frozenset({A}),
        {"trashed": A},
    )
    assert batch.files == {"one": b"new", "two": b"two"}
    assert [event.key for event in batch.events] == [C]


def test_an_object_counts_as_saved_by_its_uid_once_it_is_written(box: Outbox) -> None:
    box.change(C, "3")
    box.take_batch()
    assert not box.is_saved(C, "3")
    box.change(C, "5")  # another one of its name, while the first is being written
    box.written()
    assert (box.is_saved(C, "3"), box.is_saved(C, "5")) == (True, False)
    assert box.holds(C)


def test_what_is_removed_is_not_saved_any_more_from_when_that_is_being_written(box: Outbox) -> None:
    box.remove(A)
    assert box.is_saved(A, "1")
    box.take_batch()
    assert not box.is_saved(A, "1")


def test_an_entry_that_changed_while_it_was_written_is_not_saved(box: Outbox) -> None:
    assert box.is_trash_saved("trashed")
    box.trash("trashed", A)
    assert not box.is_trash_saved("trashed")
    box.take_batch()
    box.trash("trashed", A)
    box.written()
    assert not box.is_trash_saved("trashed")
    box.take_batch()
    box.written()
    assert box.is_trash_saved("trashed")


def test_a_new_status_branch_forgets_all_but_pages(box: Outbox) -> None:
    box.change(C, "3")
    box.remove(A)
    box.trash("trashed", A)
    box.tell(Event(C, ("", "Ready")))
    box.file("plans/x.md", b"page")
    box.load({C: "3"}, [])
    assert (len(box), box.files) == (0, 1)
    assert box.is_saved(C, "3")
    assert not box.is_saved(A, "1")
    assert not box.is_trash_saved("trashed")
    box.drop_files()
    assert box.files == 0
    assert not box.take_batch().events
