"""What it takes to apply a difference, how it is told, and what runs while some of it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.core.changes import (
    SENSITIVE,
    Change,
    Disposition,
    Path,
    applied,
    diff,
    keyed_list,
    redacted,
    sealed,
    sentence,
)
from agent.core.model import Json

NONE, IMMEDIATE, RESTART = Disposition


@dataclass(frozen=True)
class Field:
    apply: str = "restart"
    because: str = ""
    list_key: tuple[str, ...] | None = None
    quantity: bool = False
    secret: bool = False
    address: bool = False
    structured: bool = False
    union: str = ""
    immutable: str = ""


MAP = Field(structured=True)
FIELDS: Mapping[str, Field] = {
    "spec": MAP,
    "spec.cpu": MAP,
    "spec.cpu.cores": Field(),
    "spec.cpu.share": Field(apply="immediate"),
    "spec.note": Field(apply="none"),
    "spec.size": Field(quantity=True),
    "spec.sizes": Field(quantity=True),
    "spec.free.size": Field(quantity=True),
    "spec.word": Field(secret=True),
    "spec.url": Field(address=True),
    "spec.source": Field(structured=True, union="type"),
    "spec.source.type": Field(apply="immediate"),
    "spec.source.http": Field(structured=True, apply="immediate"),
    "spec.source.http.url": Field(apply="immediate"),
    "spec.source.ref": Field(apply="restart"),
    "spec.disks": Field(list_key=("kind", "name")),
    "spec.plain": Field(apply="immediate"),
}


@dataclass(frozen=True)
class Fields:
    known: Mapping[str, Field] = field(default_factory=lambda: FIELDS)

    def rule(self, path: Path) -> Field:
        return self.known.get(".".join(path), Field())


RULES = Fields()


def differences(current: Mapping[str, Json], desired: Mapping[str, Json]) -> list[str]:
    found = diff(RULES, current, desired)
    return [f"{each.operation} {each} ({each.disposition.name})" for each in found]


@pytest.mark.parametrize(
    ("current", "desired", "expected"),
    [
        ({"cpu": {"cores": 1}}, {"cpu": {"cores": 1}}, []),
        (
            {"cpu": {"cores": 1, "share": "a"}, "note": "x"},
            {"cpu": {"cores": 2, "share": "b"}, "note": "y"},
            [
                "replace cpu.cores: 1 → 2 (RESTART)",
                "replace cpu.share: a → b (IMMEDIATE)",
                "replace note: x → y (NONE)",
            ],
        ),
        ({}, {"note": "y"}, ["add note: + y (NONE)"]),
        ({"note": "y"}, {}, ["remove note: - y (NONE)"]),
        ({"size": "1Gi"}, {"size": "1024Mi"}, []),
        ({"size": "1Gi"}, {"size": "1025Mi"}, ["replace size: 1Gi → 1025Mi (RESTART)"]),
        ({"size": 0}, {"size": "0Gi"}, []),
        ({"size": "10"}, {"size": 10}, []),
        ({"sizes": ["1Gi"]}, {"sizes": ["1024Mi"]}, []),
        ({"sizes": {"a": "1Gi"}}, {"sizes": {"a": "1024Mi"}}, ['replace sizes: {"a": "1Gi"} → {"a": "1024Mi"} (RESTART)']),
        ({"free": {"size": "1Gi", "b": 1}}, {"free": {"b": 1, "size": "1024Mi"}}, []),
        ({"plain": {"b": 1, "a": 1}}, {}, ['remove plain: - {"a": 1, "b": 1} (IMMEDIATE)']),
        ({"sizes": [None]}, {"sizes": ["1"]}, ['replace sizes: [null] → ["1"] (RESTART)']),
        ({"cpu": {"a": 1, "b": 2}}, {"cpu": {"b": 2, "a": 1}}, []),
        ({"word": "a"}, {"word": "b"}, [f"replace word: {SENSITIVE} → {SENSITIVE} (RESTART)"]),
        ({}, {"word": "b"}, [f"add word: + {SENSITIVE} (RESTART)"]),
        ({"url": "https://h/a"}, {"url": "https://u:p@h/a"}, []),
        ({"url": "https://h/a"}, {"url": "https://u:p@h/b"}, ["replace url: https://h/a → https://***@h/b (RESTART)"]),
        ({"plain": [1, 2]}, {"plain": [2, 1]}, ["replace plain: [1, 2] → [2, 1] (IMMEDIATE)"]),
    ],
)  # fmt: skip
def test_a_difference_takes_what_its_field_says(
    current: Mapping[str, Json], desired: Mapping[str, Json], expected: list[str]
) -> None:
    assert differences(current, desired) == expected


@pytest.mark.parametrize(
    ("current", "desired", "expected"),
    [
        (
            {"type": "http", "http": {"url": "a"}},
            {"type": "http", "http": {"url": "b"}},
            ["replace source.http.url: a → b (IMMEDIATE)"],
        ),
        (
            {"type": "http", "http": {"url": "a"}},
            {"type": "other", "http": {"url": "b"}},
            ["replace source: http → other (IMMEDIATE)"],
        ),
        (
            {"type": "http", "http": {"url": "a"}},
            {"type": "ref", "ref": "x"},
            ["replace source: http → ref (RESTART)"],
        ),
    ],
)
def test_another_variant_is_one_change_and_as_disruptive_as_the_worst_of_it(
    current: Json, desired: Json, expected: list[str]
) -> None:
    found = differences({"source": current, "note": "x"}, {"source": desired, "note": "y"})
    assert found == ["replace note: x → y (NONE)", *expected]


# -- lists whose items have a name ------------------------------------------------------------


def disk(name: str, kind: str = "Disk", **more: Json) -> dict[str, Json]:
    return {"kind": kind, "name": name, **more}


A, B, C = disk("a"), disk("b"), disk("c")


@pytest.mark.parametrize(
    ("current", "desired", "expected"),
    [
        ([A, B], [A, B], []),
        ([A], [A, B], [("add", "0.1", None, B)]),
        ([A], [B, A], [("add", "0.0", None, B)]),
        ([A, B], [B], [("remove", "0.0", A, None)]),
        ([A, B], [B, A], [("replace", "0.0", A, B), ("replace", "0.1", B, A)]),
        ([A, B, C], [A, C, B], [("replace", "0.1", B, C), ("replace", "0.2", C, B)]),
        ([A], [B], [("replace", "0.0", A, B)]),
        ([A, B], [C, A], [("add", "0.0", None, C), ("remove", "0.1", B, None)]),
        ([A], [disk("a", "Image")], [("replace", "0.0", A, disk("a", "Image"))]),
        ([A, B], [A, disk("b", boot=1)], [("replace", "0.1", B, disk("b", boot=1))]),
        ([A, B], [disk("b", boot=1)], [("remove", "0.0", A, None), ("replace", "0.1", B, disk("b", boot=1))]),
        ([A, B], [disk("b", boot=1), A], [("replace", "0.0", A, disk("b", boot=1)), ("replace", "0.1", B, A)]),
    ],
)  # fmt: skip
def test_a_list_of_named_items_is_told_by_index_and_a_shift_alone_is_no_change(
    current: list[dict[str, Json]],
    desired: list[dict[str, Json]],
    expected: list[tuple[str, str, Json, Json]],
) -> None:
    changes = keyed_list("0", current, desired, ("kind", "name"), IMMEDIATE)
    assert list(changes) == [Change(*each, IMMEDIATE) for each in expected]


def test_a_list_of_named_items_that_is_new_or_gone_is_one_change() -> None:
    text = '[{"kind": "Disk", "name": "a"}]'
    assert differences({}, {"disks": [A]}) == [f"add disks: + {text} (RESTART)"]
    assert differences({"disks": [A]}, {}) == [f"remove disks: - {text} (RESTART)"]
    assert differences({"disks": [A]}, {"disks": []}) == [f"replace disks: {text} → [] (RESTART)"]
    assert differences({"disks": [A]}, {"disks": [A, B]}) == [
        'add disks.1: + {"kind": "Disk", "name": "b"} (RESTART)'
    ]


# -- what runs while some of it waits ---------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "desired", "waiting", "expected"),
    [
        ({"a": 1}, {"a": 2}, [], {"a": 2}),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, ["a"], {"a": 1, "b": 2}),
        ({}, {"a": 2, "b": 2}, ["a"], {"b": 2}),
        ({"a": 1}, {"b": 2}, ["a"], {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 2}}, ["a.x"], {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {}, ["a.x"], {"a": {"x": 1}}),
        ({}, {"a": {"x": 1, "y": 2}}, ["a.x"], {"a": {"y": 2}}),
        ({"a": [1, 2], "b": 1}, {"a": [3], "b": 2}, ["a.0", "a.1"], {"a": [1, 2], "b": 2}),
        (
            {"a": [1], "b": 1, "c": [1]},
            {"a": [3], "b": 2, "c": [2]},
            ["a.0", "b", "c.0"],
            {"a": [1], "b": 1, "c": [1]},
        ),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 2}}, ["a.x", "a.y"], {"a": {"x": 1, "y": 1}}),
        ({"a": {"x": 1}, "b": 1}, {"a": {"x": 2}, "b": 2}, ["a.x", "b"], {"a": {"x": 1}, "b": 1}),
    ],
)
def test_what_waits_for_a_restart_runs_on_as_it_was(
    running: Mapping[str, Json], desired: dict[str, Any], waiting: list[str], expected: Json
) -> None:
    pending = [Change("replace", path, None, None, RESTART) for path in waiting]
    before = repr(desired)
    assert applied(running, desired, pending) == expected
    assert repr(desired) == before


# -- secrets, and what people read ------------------------------------------------------------


def test_a_change_is_listed_with_the_values_that_there_are() -> None:
    listed = Change("replace", "a", 1, 2, RESTART).listed()
    assert list(listed.items()) == [
        ("currentValue", 1),
        ("desiredValue", 2),
        ("operation", "replace"),
        ("path", "a"),
    ]
    assert sentence(listed) == "a: 1 → 2"
    added = Change("add", "a", None, 0, RESTART).listed()
    assert added == {"desiredValue": 0, "operation": "add", "path": "a"}
    assert sentence(added) == "a: + 0"
    assert sentence({}) == ": null → null"


SPEC = {
    "word": {"a": "x", "b": ["y"]},
    "note": "z",
    "sizes": [None, {"deep": "v"}],
    "url": "https://u:p@h/a",
    "none": None,
}
PAIRS = (("a", 1), ("b", 2))
SHOWN = {**SPEC, "url": "https://***@h/a"}


def test_secrets_are_marked_for_people() -> None:
    assert redacted(RULES, SPEC) == {**SHOWN, "word": {"a": SENSITIVE, "b": SENSITIVE}}
    rules = Fields({"data": Field(secret=True)})
    assert redacted(rules, {"data": {"a": "x"}, "type": "y"}, ()) == {
        "data": {"a": SENSITIVE},
        "type": "y",
    }
    assert redacted(rules, {"data": None}, ()) == {"data": None}


def test_a_seal_shows_a_change_and_nothing_else() -> None:
    once = sealed(RULES, SPEC, "salt")
    assert {**once, "word": ""} == {**SHOWN, "word": ""}
    assert set(once["word"]) == {"a", "b"}
    assert all(seal.startswith("sealed:") and len(seal) == 39 for seal in once["word"].values())
    assert sealed(RULES, once, "salt") == once  # a seal stays one
    assert sealed(RULES, SPEC, "pepper")["word"] != once["word"]
    deep, same = ({"word": [dict(each)]} for each in (PAIRS, reversed(PAIRS)))
    assert sealed(RULES, deep, "salt") == sealed(RULES, same, "salt")
    other = sealed(RULES, {**SPEC, "word": {"a": "x", "b": ["z"]}}, "salt")["word"]
    assert (other["a"] == once["word"]["a"], other["b"] == once["word"]["b"]) == (True, False)
