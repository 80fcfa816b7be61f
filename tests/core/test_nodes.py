from __future__ import annotations

from typing import Any

import pytest

from agent.core.nodes import part, told

ONE: dict[str, Any] = {"name": "pt-1", "ready": True, "message": ""}
OTHER: dict[str, Any] = {"name": "pt-2", "ready": False, "message": "No route."}


@pytest.mark.parametrize("nodes", [(ONE,), (ONE, OTHER)])
def test_what_is_told_is_read(nodes: tuple[dict[str, Any], ...]) -> None:
    assert told(part(nodes)) == nodes


def test_one_node_stands_where_it_always_stood() -> None:
    assert part([ONE]) == {"node": ONE}


@pytest.mark.parametrize(
    "agent",
    [
        {},
        {"node": None},
        {"node": "pt-1"},
        {"node": {"name": ""}},
        {"node": {"name": 7}},
        {"nodes": []},
        {"nodes": [None, "pt-1", {"ready": True}]},
    ],
)
def test_what_says_nothing_of_a_node_is_passed_over(agent: dict[str, Any]) -> None:
    assert told(agent) == ()
