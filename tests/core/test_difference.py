"""What differs between two nested maps, and that only that is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import difference

NAMES = st.sampled_from("abcdef")
MAPS = st.recursive(
    st.dictionaries(NAMES, st.sampled_from(("1", "2")), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | st.sampled_from(("1", "2")), max_size=4),
    max_leaves=12,
)


def model(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after:
            yield path
        return
    for name in before.keys() | after.keys():
        yield from model(before.get(name), after.get(name), (*path, name))


@given(MAPS, MAPS)
def test_every_value_that_differs_is_found_and_no_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    found = list(difference.paths(before, after))
    assert len(found) == len(set(found))
    assert set(found) == set(model(before, after))


def test_maps_with_nothing_in_common_differ_value_by_value() -> None:
    found = difference.paths({"in": {"a": "1", "b": "2"}}, {"in": {"c": "3", "d": "4"}})
    assert sorted(found) == [("in", "a"), ("in", "b"), ("in", "c"), ("in", "d")]


def test_only_what_differs_costs_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []

    def compared(one: Any, other: Any, **_: Any) -> dict[str, Any]:
        asked.append((one, other))
        return {}

    monkeypatch.setattr("deepdiff.DeepDiff", compared)
    same = {"sizes": {str(at): at for at in range(100)}}
    list(difference.paths(same, {"sizes": dict(same["sizes"])}))
    assert asked == []
    changed = {"sizes": {**same["sizes"], "7": "other"}, "more": "1"}
    list(difference.paths(same, changed))
    assert asked == [({"sizes": {"7": 7}}, {"sizes": {"7": "other"}, "more": "1"})]
