"""How edits by hand are told."""

from __future__ import annotations

import pytest

from agent.core.changes import Disposition
from agent.core.drift import DEFINITION, INSTANCE, MOST, Drift, Edit, brief

CORES = Edit(DEFINITION, "cpu.cores", 2, 3, Disposition.IMMEDIATE)
DISK = Edit(INSTANCE, "disk mine", None, {"bus": "scsi"}, Disposition.RESTART)


@pytest.mark.parametrize(
    ("expected", "found", "text"),
    [
        (2, 3, "x 2 → 3"),
        ("utc", "localtime", "x utc → localtime"),
        (1, None, "x 1 → none"),
        (None, "br0", "x none → br0"),
        (True, None, "x removed"),
        (None, True, "x added"),
        ({"bus": "scsi"}, None, "x removed"),
        (None, {"bus": "scsi"}, "x added"),
        ("in order", "in another order", "x in order → in another order"),
    ],
)
def test_an_edit_says_what_was_and_what_is(expected: object, found: object, text: str) -> None:
    assert str(Edit(DEFINITION, "x", expected, found)) == text


def test_what_shares_its_fate_is_one_sentence() -> None:
    memory = Edit(DEFINITION, "memory.size", "1Gi", "2Gi", Disposition.IMMEDIATE)
    left = Edit(INSTANCE, "cpu.cores", 2, 3)
    drift = Drift((DISK, left, memory, CORES), ("It has a saved state.",))
    assert [*drift.sentences()] == [
        "The definition was changed by hand: cpu.cores 2 → 3, memory.size 1Gi → 2Gi; put back.",
        "The running instance was changed by hand: cpu.cores 2 → 3; a restart does not undo it.",
        "The running instance was changed by hand: disk mine added; a restart undoes it.",
        "It has a saved state.",
    ]
    assert [*drift.lines()] == [
        "disk mine added (running instance: a restart undoes it)",
        "cpu.cores 2 → 3 (running instance: a restart does not undo it)",
        "memory.size 1Gi → 2Gi (definition: put back)",
        "cpu.cores 2 → 3 (definition: put back)",
        "It has a saved state.",
    ]
    assert drift.mended == (memory, CORES)


def test_machines_get_the_values() -> None:
    assert CORES.listed() == {
        "expectedValue": 2,
        "foundValue": 3,
        "operation": "replace",
        "path": "cpu.cores",
        "where": "definition",
        "undoneBy": "immediate",
    }
    assert DISK.listed() == {
        "foundValue": {"bus": "scsi"},
        "operation": "add",
        "path": "disk mine",
        "where": "running instance",
        "undoneBy": "restart",
    }
    gone = Edit(INSTANCE, "disk mine", {"bus": "scsi"}, None)
    assert (gone.listed()["operation"], gone.listed()["undoneBy"]) == ("remove", "none")


def test_one_sentence_holds_only_so_many() -> None:
    many = tuple(Edit(DEFINITION, str(at), 1, 2) for at in range(MOST + 2))
    assert brief(many[:MOST]).count("→") == MOST
    assert brief(many[:MOST]).endswith("→ 2")
    assert brief(many).count("→") == MOST
    assert brief(many).endswith(" and 2 more")
