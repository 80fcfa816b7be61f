"""Who keeps an object in use is named, and a crowd is counted."""

from __future__ import annotations

import pytest

from agent.core.model import Key
from agent.kinds.protection import kept


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "VirtualMachine t/vm-0 refers to it."),
        (2, "VirtualMachine t/vm-0 and VirtualMachine t/vm-1 refer to it."),
        (
            3,
            "VirtualMachine t/vm-0, VirtualMachine t/vm-1 and VirtualMachine t/vm-2 refer to it.",
        ),
        (
            4,
            "VirtualMachine t/vm-0, VirtualMachine t/vm-1, VirtualMachine t/vm-2 and 1 more refer to it.",
        ),
        (
            5,
            "VirtualMachine t/vm-0, VirtualMachine t/vm-1, VirtualMachine t/vm-2 and 2 more refer to it.",
        ),
    ],
)
def test_users_are_named_up_to_three(count: int, sentence: str) -> None:
    users = [Key("VirtualMachine", "t", f"vm-{number}") for number in range(count)]
    assert kept("disk", users) == f"The disk is kept while {sentence}"
