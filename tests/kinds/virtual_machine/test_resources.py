"""What a machine asks of its host."""

from __future__ import annotations

import pytest

from agent.kinds.virtual_machine.resources import requested_milli, resources


@pytest.mark.parametrize(
    ("cores", "fraction", "milli"),
    [(1, "100%", 1000), (2, "Auto", 2000), (1, "10%", 100), (3, "33%", 990), (1, "1%", 10)],
)
def test_a_share_of_the_cores_is_guaranteed(cores: int, fraction: str, milli: int) -> None:
    assert requested_milli(cores, fraction) == milli


def test_resources_are_told_as_kubernetes_does() -> None:
    assert resources({"cores": 3, "coreFraction": "50%"}, "1Gi") == {
        "cpu": {
            "coreFraction": "50%",
            "cores": 3,
            "requestedCores": "1500m",
            "runtimeOverhead": "0",
            "topology": {"sockets": 1, "coresPerSocket": 3},
        },
        "memory": {"runtimeOverhead": "0", "size": "1Gi"},
    }
