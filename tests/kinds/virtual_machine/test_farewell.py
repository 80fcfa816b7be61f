"""What becomes of a machine that is deleted, as a plan says it."""

from __future__ import annotations

import pytest

from agent.core.ledger import Record
from agent.core.model import Key
from agent.kinds.virtual_machine.farewell import farewell
from agent.kinds.virtual_machine.phase import ON
from tests.kinds.deciding import made
from tests.kinds.virtual_machine.test_decide import with_disks
from tests.kinds.virtual_machine.test_deeds import KEY

A, B, C = (Key("VirtualDisk", "default", name) for name in "abc")


@pytest.mark.parametrize(
    ("disks", "staying", "what"),
    [
        ((), {A}, "it has no disk"),
        ((A,), {A}, "disk a stays with its data"),
        ((A,), {B}, "disk a goes to the trash"),
        ((A, B), {A, B}, "disks a and b stay with their data"),
        ((A, B, C), set(), "disks a, b and c go to the trash"),
        ((A, B, C), {B}, "disk b stays with its data and disks a and c go to the trash"),
    ],
)
@pytest.mark.parametrize("phase", ["Running", "Starting", "Stopped", "Pending", ""])
def test_a_plan_says_what_becomes_of_a_machine_and_its_disks(
    disks: tuple[Key, ...], staying: set[Key], what: str, phase: str
) -> None:
    end = "stops gracefully, then its domain" if phase in ON else "its domain"
    record = Record(made(KEY, with_disks(*disks)), {"phase": phase} if phase else {})
    assert farewell(record, staying) == f"{end} is removed; {what}"
