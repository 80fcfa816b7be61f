"""Decisions follow from facts: who read what decides again, and nobody else."""

from __future__ import annotations

import pytest

from agent.core.facts import Decision, Engine, View
from agent.core.known import OBJECT, Table
from agent.core.model import Key, Manifest, Object

WEATHER: Table[str, str | float] = Table("weather")
TURNS: Table[str, int] = Table("turns")
A, B = Key("Thing", "", "a"), Key("Thing", "", "b")


def thing(key: Key, **spec: str) -> Object:
    return Object(Manifest(key, {}, {}, {"spec": spec}), f"uid-{key.name}", 1, "", "")


def decide(obj: Object, view: View) -> Decision:
    """Reports what the fact that its spec names says, and wakes when that is a time."""
    seen = view.read(WEATHER, obj.spec["place"])
    wake = seen if isinstance(seen, float) and seen > view.now else None
    return Decision(status={"weather": seen}, export=seen, wake=wake)


@pytest.fixture
def engine() -> Engine:
    return Engine({"Thing": 0}, {"Thing": decide})


def report(engine: Engine, key: Key) -> object:
    return (engine.decisions[key].status or {})["weather"]


def test_a_changed_fact_makes_its_readers_decide_again_and_no_others(engine: Engine) -> None:
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.put(OBJECT, B, thing(B, place="shore"))
    assert engine.settle(0.0) == {A, B}
    engine.put(WEATHER, "shore", "rain")
    assert engine.settle(0.0) == {B}
    assert (report(engine, A), report(engine, B)) == (None, "rain")
    engine.put(WEATHER, "shore", "rain")
    assert engine.settle(0.0) == set()


def test_what_is_read_no_more_changes_nothing(engine: Engine) -> None:
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.settle(0.0)
    engine.put(OBJECT, A, thing(A, place="shore"))
    engine.settle(0.0)
    engine.put(WEATHER, "hill", "snow")
    assert engine.settle(0.0) == set()
    engine.put(WEATHER, "shore", "sun")
    assert engine.settle(0.0) == {A}


def test_time_alone_wakes_a_decision(engine: Engine) -> None:
    engine.put(WEATHER, "hill", 10.0)
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.settle(0.0)
    assert engine.next_wake() == 10.0
    assert engine.settle(9.0) == set()
    assert engine.settle(10.0) == {A}
    assert engine.next_wake() is None


def test_objects_that_come_and_go_leave_nothing_behind(engine: Engine) -> None:
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.settle(0.0)
    kept = [len(each) for each in vars(engine).values() if isinstance(each, dict)]
    for number in range(50):
        key = Key("Thing", "", str(number))
        engine.put(OBJECT, key, thing(key, place=f"place-{number}"))
        engine.settle(0.0)
        engine.put(OBJECT, key, thing(key, place=f"elsewhere-{number}"))
        engine.settle(0.0)
        engine.put(OBJECT, key, None)
        engine.settle(0.0)
    assert [len(each) for each in vars(engine).values() if isinstance(each, dict)] == kept


def test_decisions_that_undo_each_other_are_a_bug_and_not_a_loop() -> None:
    def restless(obj: Object, view: View) -> Decision:
        turns = view.read(TURNS, "all") or 0
        return Decision(publish=TURNS.states("all", turns + 1))

    engine = Engine({"Thing": 0}, {"Thing": restless})
    engine.put(OBJECT, A, thing(A))
    with pytest.raises(RuntimeError, match="Thing a never settle"):
        engine.settle(0.0)
