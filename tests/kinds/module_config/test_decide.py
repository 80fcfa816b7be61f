"""What the settings of the module mean for others."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from agent.core.model import Json
from agent.kinds.exports import AddressRanges
from agent.kinds.module_config import SETTINGS
from agent.kinds.module_config.decide import decide
from tests.kinds.deciding import READY, decided, made

KEY = SETTINGS
RANGES = ["10.66.10.0/24", "10.66.20.0/30"]


@pytest.mark.parametrize(
    ("spec", "networks"),
    [
        ({"settings": {"virtualMachineCIDRs": RANGES}}, tuple(map(IPv4Network, RANGES))),
        ({"settings": {}}, ()),
        ({}, ()),
    ],
)
def test_the_ranges_are_exported_in_their_order(
    spec: dict[str, Json], networks: tuple[IPv4Network, ...]
) -> None:
    decision = decided(decide, made(KEY, spec), READY)
    assert (decision.export, decision.gone) == (AddressRanges(networks), False)


def test_settings_that_are_deleted_give_nothing_and_go_at_once() -> None:
    spec: dict[str, Json] = {"settings": {"virtualMachineCIDRs": RANGES}}
    decision = decided(decide, made(KEY, spec, deleted="1970-01-01T00:10:00Z"), READY)
    assert (decision.export, decision.gone) == (None, True)
