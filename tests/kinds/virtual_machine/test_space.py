"""Guests that stand still for want of space go on when there is some."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.actions import ResumeDomain
from agent.core.identity import POOL
from agent.core.jobs import Job
from agent.core.known import FREE
from agent.kinds.virtual_machine.space import AGAIN, resumed, sentence
from tests.golden.case import NODE
from tests.kinds.deciding import view_of
from tests.kinds.virtual_machine.test_deeds import situation
from tests.kinds.virtual_machine.test_power import NOW

MIB = 1 << 20
RESUME = (ResumeDomain(NODE.name, "uuid", "one"),)


@pytest.mark.parametrize(
    ("what", "free", "expected", "again"),
    [
        ({}, 64 * MIB, RESUME, None),
        ({}, 64 * MIB - 1, (), None),
        ({}, None, (), None),
        ({"reason": "user"}, 64 * MIB, (), None),
        ({"running": None}, 64 * MIB, (), None),
        ({"job": Job(done={"ResumeDomain": NOW - AGAIN})}, 64 * MIB, RESUME, None),
        ({"job": Job(done={"ResumeDomain": NOW - 299})}, 64 * MIB, (), NOW + 1),
    ],
)
def test_a_guest_that_found_no_space_goes_on_once_there_is_enough(
    what: dict[str, Any], free: int | None, expected: Any, again: float | None
) -> None:
    case = situation("paused", **({"reason": "ioerror"} | what))
    view = view_of({(FREE, (NODE.name, POOL)): free})
    assert resumed(case, view) == (expected, again)


@pytest.mark.parametrize(("free", "expected"), [(64 * MIB, RESUME), (0, ()), (None, ())])
def test_there_must_be_space_in_every_pool_that_its_disks_lie_in(
    free: int | None, expected: Any
) -> None:
    case = situation("paused", reason="ioerror", pools=(POOL, "vms"))
    view = view_of({(FREE, (NODE.name, POOL)): 1 << 40, (FREE, (NODE.name, "vms")): free})
    assert resumed(case, view) == (expected, None)
    assert "in storage pool gitvirt (/pool) and vms (not active)" in sentence(case)


def test_it_says_how_much_that_is_and_where() -> None:
    found = sentence(situation())
    assert "storage pool gitvirt (/pool)" in found
    assert "once 64Mi are free" in found
