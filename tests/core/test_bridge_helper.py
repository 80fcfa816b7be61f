from __future__ import annotations

import pytest

from agent.core.bridge_helper import allows


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("", False),
        ("allow br0\n", True),
        ("# allow br0\nallow br1\n", False),
        ("  allow   br0  \n", True),
        ("allow all\n", True),
        ("allow all\ndeny br0\n", False),
        ("deny all\nallow br0\n", False),
        ("deny br1\nallow br0\n", True),
        ("include /etc/qemu/ada.conf\n", True),
        ("include /etc/qemu/ada.conf\ndeny br0\n", False),
    ],
)
def test_a_bridge_is_allowed_where_a_rule_says_so_and_none_denies_it(
    rules: str, allowed: bool
) -> None:
    assert allows(rules, "br0") is allowed
