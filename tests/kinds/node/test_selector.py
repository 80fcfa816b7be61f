"""Node selectors mean what they mean in Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from agent.kinds.node.selector import selects

LABELS = {"disktype": "ssd", "cores": "16", "zone": "", "huge": "9" * 63}


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {}, "matchExpressions": []}, True),
        ({"matchLabels": {"disktype": "ssd"}}, True),
        ({"matchLabels": {"disktype": "ssd", "cores": "8"}}, False),
        ({"matchLabels": {"absent": ""}}, False),
        ({"matchLabels": {"zone": ""}}, True),
        ({"matchLabels": {"disktype": "ssd"}, "matchExpressions": [requirement("cores", "In", "8")]}, False),
        *(
            ({"matchExpressions": [each]}, expected)
            for each, expected in (
                (requirement("disktype", "In", "hdd", "ssd"), True),
                (requirement("disktype", "In", "hdd"), False),
                (requirement("absent", "In", "ssd"), False),
                (requirement("disktype", "NotIn", "hdd"), True),
                (requirement("disktype", "NotIn", "ssd"), False),
                (requirement("absent", "NotIn", "ssd"), True),
                (requirement("zone", "Exists"), True),
                (requirement("absent", "Exists"), False),
                (requirement("absent", "DoesNotExist"), True),
                (requirement("zone", "DoesNotExist"), False),
                (requirement("cores", "Gt", "15"), True),
                (requirement("cores", "Gt", "16"), False),
                (requirement("cores", "Lt", "100"), True),
                (requirement("cores", "Lt", "-1"), False),
                (requirement("disktype", "Gt", "1"), False),
                (requirement("absent", "Lt", "1"), False),
                (requirement("huge", "Gt", "1"), True),
                (requirement("cores", "Lt", "9" * 5000), False),
            )
        ),
    ],
)  # fmt: skip
def test_a_selector(selector: dict[str, Any], expected: bool) -> None:
    assert selects(selector, LABELS) is expected
