"""Decisions follow from facts: who read what decides again, and nobody else."""

from __future__ import annotations

import pytest

from agent.core.facts import AGAIN, UNDECIDED, Decide, Decision, Engine, View
from agent.core.known import OBJECT, STATUS, Table
from agent.core.model import Condition, Key, Manifest, Object
from agent.core.status import stamp

WEATHER: Table[str, str | float] = Table("weather")
TURNS: Table[str, int] = Table("turns")
A, B = Key("Thing", "", "a"), Key("Thing", "", "b")


def thing(key: Key, **spec: str) -> Object:
    return Object(Manifest(key, {}, {}, {"spec": spec}), f"uid-{key.name}", 1, "", "")


def decide(obj: Object, view: View) -> Decision:
    """Reports what the fact that its spec names says, and wakes when that is a time."""
    seen = view.read(WEATHER, str(obj.spec["place"]))
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


def is_wet(weather: str | float | None) -> bool:
    return weather in ("rain", "snow")


def dressing(obj: Object, view: View) -> Decision:
    """Looks at no more of the weather than whether it is wet."""
    return Decision(status={"coat": view.part(WEATHER, str(obj.spec["place"]), is_wet)})


def decided(decide: Decide) -> tuple[Engine, list[Key]]:
    """An engine, and whoever it has decided about, in order."""
    calls: list[Key] = []

    def counted(obj: Object, view: View) -> Decision:
        calls.append(obj.key)
        return decide(obj, view)

    return Engine({"Thing": 0}, {"Thing": counted}), calls


def test_who_read_a_part_of_a_fact_decides_again_when_that_part_is_another() -> None:
    engine, calls = decided(dressing)
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.put(WEATHER, "hill", "rain")
    engine.settle(0.0)
    engine.put(WEATHER, "hill", "snow")
    engine.settle(0.0)
    assert calls == [A]
    engine.put(WEATHER, "hill", "sun")
    engine.settle(0.0)
    engine.put(WEATHER, "hill", None)
    engine.settle(0.0)
    assert calls == [A, A]
    engine.put(WEATHER, "hill", "snow")
    assert engine.settle(0.0) == {A}


@pytest.mark.parametrize("first", ["whole", "part"])
def test_who_read_all_of_a_fact_as_well_decides_again_whatever_changes(first: str) -> None:
    def both(obj: Object, view: View) -> Decision:
        for way in ("part", "whole") if first == "part" else ("whole", "part"):
            view.part(WEATHER, "hill", is_wet) if way == "part" else view.read(WEATHER, "hill")
        return Decision()

    engine, calls = decided(both)
    engine.put(OBJECT, A, thing(A))
    engine.put(WEATHER, "hill", "rain")
    engine.settle(0.0)
    engine.put(WEATHER, "hill", "snow")
    engine.settle(0.0)
    assert calls == [A, A]


def test_of_several_parts_each_counts() -> None:
    def careful(obj: Object, view: View) -> Decision:
        view.part(WEATHER, "hill", is_wet)
        view.part(WEATHER, "hill", lambda weather: weather == "snow")
        return Decision()

    engine, calls = decided(careful)
    engine.put(OBJECT, A, thing(A))
    engine.put(WEATHER, "hill", "rain")
    engine.settle(0.0)
    engine.put(WEATHER, "hill", "snow")
    engine.settle(0.0)
    assert calls == [A, A]


def test_what_a_decision_brings_about_itself_is_no_news_to_it() -> None:
    def rainmaker(obj: Object, view: View) -> Decision:
        view.part(WEATHER, "hill", is_wet)
        view.foresee(WEATHER, "hill", is_wet, True)
        return Decision(publish=WEATHER.states("hill", "rain"))

    engine, calls = decided(rainmaker)
    engine.put(OBJECT, A, thing(A))
    engine.settle(0.0)
    assert calls == [A]
    engine.put(WEATHER, "hill", "sun")
    engine.settle(0.0)
    assert calls == [A], "that is what it saw"
    engine.put(OBJECT, A, thing(A, place="shore"))
    engine.settle(0.0)
    assert calls == [A, A]


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


@pytest.mark.mistakes
def test_a_mistake_in_a_rule_leaves_what_was_known_and_stops_nobody_else() -> None:
    def rule(obj: Object, view: View) -> Decision:
        weather = view.read(WEATHER, str(obj.spec["place"]))
        if weather == "hail":
            raise KeyError("umbrella")
        shown = Condition("Dry", "True", "Sun")
        return Decision(
            status={"phase": "Ready", "conditions": [shown]},
            export=weather,
            publish=TURNS.states(obj.key.name, 1),
        )

    engine = Engine({"Thing": 0}, {"Thing": rule})
    engine.put(OBJECT, A, thing(A, place="hill"))
    engine.put(OBJECT, B, thing(B, place="shore"))
    engine.put(WEATHER, "hill", "sun")
    engine.settle(0.0)
    engine.put(STATUS, A, stamp({}, engine.decisions[A].status or {}, 1, 0.0))
    engine.put(WEATHER, "hill", "hail")
    engine.put(WEATHER, "shore", "rain")
    assert engine.settle(10.0) == {A, B}
    failed = engine.decisions[A]
    assert (failed.export, failed.actions, failed.ok) == ("sun", (), False)
    assert engine.get(TURNS, "a") == 1
    status = stamp(engine.get(STATUS, A) or {}, failed.status or {}, 1, 10.0)
    assert status["phase"] == "Ready"
    told = {each["type"]: (each["reason"], each["message"]) for each in status["conditions"]}
    assert told["Dry"] == ("Sun", "")
    assert told[UNDECIDED][0] == "InternalError"
    assert "KeyError" in told[UNDECIDED][1]
    assert "umbrella" not in told[UNDECIDED][1]
    engine.put(STATUS, A, status)
    engine.put(WEATHER, "hill", "sun")
    engine.settle(20.0)
    assert UNDECIDED not in str(engine.decisions[A].status)


@pytest.mark.mistakes
def test_what_failed_by_a_mistake_is_decided_again_by_itself() -> None:
    calls = []

    def rule(obj: Object, view: View) -> Decision:
        calls.append(view.now)
        raise ValueError

    engine = Engine({"Thing": 0}, {"Thing": rule})
    engine.put(OBJECT, A, thing(A))
    engine.settle(0.0)
    assert engine.next_wake() == AGAIN
    engine.settle(AGAIN)
    assert calls == [0.0, AGAIN]
    engine.put(OBJECT, A, None)
    engine.settle(AGAIN)
    assert engine.next_wake() is None
