from __future__ import annotations

from typing import Any, cast

import pytest

from agent.core.quantity import to_bytes
from agent.kinds.virtual_machine_class.sizing import (
    default_core_fraction,
    matching_policy,
    percent,
    violations,
)
from agent.kinds.virtual_machine_class.spec import MemorySizes, SizingPolicy


def policy(low: int, high: int, shares: list[Any], **memory: Any) -> SizingPolicy:
    found: SizingPolicy = {"cores": {"min": low, "max": high}, "coreFractions": shares}
    if memory:
        found["memory"] = cast("MemorySizes", memory)
    return found


FOUR = [
    policy(1, 4, [5, 10, 20, 50, 100], min="1Gi", max="8Gi", step="512Mi"),
    policy(5, 8, [20, 50, 100], min="5Gi", max="16Gi", step="1Gi"),
    policy(9, 16, [50, 100], min="9Gi", max="32Gi", step="1Gi"),
    policy(17, 1024, [100], perCore={"min": "1Gi", "max": "2Gi"}),
]


@pytest.mark.parametrize(
    ("cores", "memory", "share", "words"),
    [
        (1, "1Gi", "5%", []),
        (2, "4Gi", "15%", ["coreFraction is 15%: choose 5%, 10%, 20%, 50% or 100%"]),
        (2, "700Mi", "5%", ["memory.size is 700Mi: choose 1Gi to 8Gi"]),
        (2, "1280Mi", "5%", ["1280Mi, which is between steps: choose 1Gi or 1536Mi"]),
        (6, "5.5Gi", "20%", ["5632Mi, which is between steps: choose 5Gi or 6Gi"]),
        (10, "10Gi", "20%", ["coreFraction is 20%: choose 50% or 100%"]),
        (18, "36Gi", "100%", []),
        (18, "17Gi", "100%", ["memory.size is 17Gi: choose 18Gi to 36Gi for 18 cores"]),
        (17, "17Gi", "100%", []),
        (17, "17Gi", "", ["coreFraction is absent: choose 100%"]),
        (2, "700Mi", "7%", ["coreFraction is 7%", "memory.size is 700Mi"]),
        (1, "8Gi", "Auto", []),
        (1, "9Gi", "100%", ["memory.size is 9Gi: choose 1Gi to 8Gi"]),
        (17, str(17 * (2**30 + 1)), "100%", []),  # without a step any amount
    ],
)
def test_a_class_with_four_policies(cores: int, memory: str, share: str, words: list[str]) -> None:
    found = violations(FOUR, cores, share, to_bytes(memory))
    assert len(found) == len(words)
    for sentence, part in zip(found, words, strict=True):
        assert part in sentence


def test_a_class_without_policies_allows_everything() -> None:
    assert violations([], 7, "3%", 1) == []
    assert default_core_fraction([], 7) == "100%"


def test_cores_outside_every_range_are_told_with_the_ranges() -> None:
    policies = [policy(1, 4, [100]), policy(9, 16, [100])]
    (sentence,) = violations(policies, 7, "100%", 2**30)
    assert sentence == "spec.cpu.cores is 7, and the class has sizes for 1-4, 9-16 cores only"
    assert matching_policy(policies, 7) is None


def test_the_first_policy_whose_range_holds_the_cores_counts() -> None:
    assert matching_policy(FOUR, 4) is FOUR[0]
    assert matching_policy(FOUR, 5) is FOUR[1]
    assert matching_policy(FOUR, 1024) is FOUR[3]
    assert matching_policy(FOUR, 1025) is None


@pytest.mark.parametrize(
    ("cores", "near"),
    [(1, None), (5, None), (13, None), (14, None), (2, "1 or 5"), (12, "9 or 13")],
)
def test_steps_of_cores_are_counted_from_the_smallest(cores: int, near: str | None) -> None:
    policies: list[SizingPolicy] = [{"cores": {"min": 1, "max": 14, "step": 4}}]
    found = violations(policies, cores, "100%", 2**30)
    assert [sentence.rpartition("choose ")[2] for sentence in found] == ([near] if near else [])


def test_steps_of_memory_need_an_upper_end() -> None:
    assert violations([policy(1, 4, [], min="1Gi", step="1Gi")], 1, "100%", to_bytes("1.5Gi")) == []
    (sentence,) = violations([policy(1, 4, [], max="3Gi", step="2Gi")], 1, "100%", to_bytes("1Gi"))
    assert sentence.endswith("choose 2Gi")
    assert violations([policy(1, 4, [], max="3Gi", step="2Gi")], 1, "100%", to_bytes("3Gi")) == []


def test_each_end_of_memory_may_be_missing() -> None:
    (low,) = violations([policy(1, 4, [], min="2Gi")], 1, "100%", to_bytes("1Gi"))
    assert low.endswith("choose at least 2Gi")
    (high,) = violations([policy(1, 4, [], max="2Gi")], 1, "100%", to_bytes("3Gi"))
    assert high.endswith("choose at most 2Gi")


def test_what_each_core_may_have_is_told_for_all_of_them() -> None:
    policies = [policy(1, 4, [], perCore={"min": "1Gi", "max": "4Gi"})]
    (one,) = violations(policies, 1, "100%", to_bytes("5Gi"))
    assert one.endswith("choose 1Gi to 4Gi")
    (two,) = violations(policies, 2, "100%", to_bytes("9Gi"))
    assert two.endswith("choose 2Gi to 8Gi for 2 cores")


def test_steps_hold_for_each_core_where_memory_is_given_for_each() -> None:
    policies = [policy(1, 4, [], step="1Gi", perCore={"min": "1Gi", "max": "4Gi"})]
    assert violations(policies, 2, "100%", to_bytes("4Gi")) == []
    (sentence,) = violations(policies, 2, "100%", to_bytes("3Gi"))
    assert sentence.endswith("choose 2Gi or 4Gi")


@pytest.mark.parametrize(
    ("shares", "default", "expected"),
    [
        ([5, 20], 20, "20%"),
        (["5%", "20%"], "5%", "5%"),
        ([5], "Auto", "Auto"),
        ([5, 100], None, "100%"),
        (["100%"], None, "100%"),
        ([5, 20], None, None),
        ([], None, "100%"),
    ],
)
def test_the_share_of_a_machine_that_names_none(
    shares: list[Any], default: int | str | None, expected: str | None
) -> None:
    found = policy(1, 4, shares)
    if default is not None:
        found["defaultCoreFraction"] = default
    assert default_core_fraction([found], 2) == expected


def test_no_share_without_a_policy_for_the_cores() -> None:
    assert default_core_fraction([policy(1, 4, [100])], 5) is None


def test_both_versions_write_shares_alike() -> None:
    assert [percent(20), percent("20%"), percent("Auto")] == ["20%", "20%", "Auto"]
