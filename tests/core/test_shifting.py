"""Machines that go from nodes that are short of memory: enough of them, and none that comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import Key
from agent.core.placement.shifting import ROOMY, SHORT, Load, Mover, shifts


def key(name: str) -> Key:
    return Key("VirtualMachine", "default", name)


def mover(name: str, memory: int, at: str = "a") -> Mover:
    return Mover(key(name), at, memory)


def everywhere(_key: Key, _node: str) -> bool:
    return True


def names(found: dict[Key, str]) -> dict[str, str]:
    return {each.name: node for each, node in found.items()}


def test_nobody_goes_where_no_node_is_short() -> None:
    loads = [Load("a", 100, SHORT), Load("b", 100, 0)]
    assert shifts(loads, [mover("x", 10)], everywhere) == {}


def test_the_smallest_goes_that_suffices() -> None:
    loads = [Load("a", 100, 99), Load("b", 100, 0)]
    movers = [mover("big", 50), mover("enough", 4), mover("more", 5), mover("small", 3)]
    assert names(dict(shifts(loads, movers, everywhere))) == {"enough": "b"}


def test_the_largest_goes_first_where_none_suffices() -> None:
    loads = [Load("a", 100, 130), Load("b", 100, 0)]
    movers = [mover("x", 20), mover("y", 19), mover("z", 18)]
    assert names(dict(shifts(loads, movers, everywhere))) == {"x": "b", "z": "b"}


def test_the_emptiest_node_takes_it() -> None:
    loads = [Load("a", 100, 99), Load("b", 100, 20), Load("c", 100, 10), Load("d", 10, 0)]
    assert names(dict(shifts(loads, [mover("x", 9)], everywhere))) == {"x": "c"}


def test_a_node_that_takes_one_in_is_not_nearly_short_itself() -> None:
    loads = [Load("a", 100, 99), Load("b", 100, ROOMY - 9)]
    assert shifts(loads, [mover("x", 10)], everywhere) == {}
    assert names(dict(shifts(loads, [mover("x", 9)], everywhere))) == {"x": "b"}


def test_what_does_not_fit_or_takes_nobody_is_passed_over() -> None:
    loads = [Load("a", 100, 99), Load("b", 100, 0, takes=False), Load("c", 100, 50)]
    movers = [mover("x", 10), mover("y", 11)]
    found = shifts(loads, movers, lambda each, _node: each.name == "y")
    assert names(dict(found)) == {"y": "c"}


def test_a_node_whose_memory_nobody_counts_is_left_alone() -> None:
    assert shifts([Load("a", 0, 10), Load("b", 0, 0)], [mover("x", 10)], everywhere) == {}


NODES = ("a", "b", "c", "d")


@given(st.data())
def test_after_it_nobody_is_asked_again(data: st.DataObject) -> None:
    memories = {name: data.draw(st.integers(50, 200)) for name in NODES}
    movers = [
        mover(f"m{number}", data.draw(st.integers(1, 60)), data.draw(st.sampled_from(NODES)))
        for number in range(data.draw(st.integers(0, 12)))
    ]
    fixed = {name: data.draw(st.integers(0, 150)) for name in NODES}
    barred = data.draw(
        st.frozensets(st.tuples(st.sampled_from(range(12)), st.sampled_from(NODES)), max_size=10)
    )

    def fits(each: Key, node: str) -> bool:
        return (int(each.name[1:]), node) not in barred

    def loads(there: list[Mover]) -> list[Load]:
        return [
            Load(name, memories[name], fixed[name] + sum(m.memory for m in there if m.at == name))
            for name in NODES
        ]

    found = shifts(loads(movers), movers, fits)
    after = [Mover(each.key, found.get(each.key, each.at), each.memory) for each in movers]
    assert shifts(loads(after), after, fits) == {}
    short = {load.name for load in loads(movers) if load.short}
    assert {each.at for each in movers if each.key in found} <= short
    assert not {load.name for load in loads(after) if load.short} & set(found.values())
