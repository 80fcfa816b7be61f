"""Whatever happens in whatever order: the agents converge, and never do what nobody asked for."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.product.property import surroundings
from tests.product.property.machine import Product
from tests.product.property.manifests import FIELDS
from tests.product.test_fields import KIND

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "50"))
STEPS = int(os.environ.get("PROPERTY_STEPS", "40"))


def test_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings.prepare(monkeypatch.setattr)
    run_state_machine_as_test(
        Product,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="PROPERTY_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )


def test_every_field_of_a_machine_is_in_it() -> None:
    assert {path[1] for path, _ in KIND.fields() if path[0] == "spec" and len(path) == 2} == set(
        FIELDS
    )
