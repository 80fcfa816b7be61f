from __future__ import annotations

import pytest

from agent.kinds.virtual_machine.topology import MAX_CORES, problem, topology


def allowed(low: int, high: int) -> list[int]:
    return [cores for cores in range(low, high + 1) if problem(cores) is None]


@pytest.mark.promise("S72", "S77", "S83", "S89", "S95")
@pytest.mark.parametrize(
    ("cores", "shape"),
    [
        *((1, (1, 1)), (8, (1, 8)), (16, (1, 16)), (17, (2, 9)), (18, (2, 9)), (19, (2, 10))),
        *((20, (2, 10)), (31, (2, 16)), (32, (2, 16)), (36, (4, 9)), (37, (4, 10)), (40, (4, 10))),
        *((64, (4, 16)), (65, (8, 9)), (72, (8, 9)), (80, (8, 10)), (88, (8, 11)), (248, (8, 31))),
        *((0, (1, 1)), (-5, (1, 1))),
    ],
)
def test_shape(cores: int, shape: tuple[int, int]) -> None:
    assert topology(cores) == shape


@pytest.mark.promise("S74", "S75", "S76")
def test_up_to_16_cores_share_one_socket_and_every_number_is_allowed() -> None:
    assert allowed(1, 16) == list(range(1, 17))
    assert [topology(cores) for cores in range(1, 17)] == [(1, cores) for cores in range(1, 17)]


@pytest.mark.promise("S78", "S79", "S80", "S81", "S82")
def test_17_to_32_cores_are_even_numbers_on_two_sockets() -> None:
    assert allowed(17, 32) == [18, 20, 22, 24, 26, 28, 30, 32]
    assert [topology(cores) for cores in allowed(17, 32)] == [(2, half) for half in range(9, 17)]


@pytest.mark.promise("S84", "S85", "S86", "S87", "S88")
def test_33_to_64_cores_are_multiples_of_four_on_four_sockets() -> None:
    assert allowed(33, 64) == [36, 40, 44, 48, 52, 56, 60, 64]
    assert [topology(cores) for cores in allowed(33, 64)] == [(4, part) for part in range(9, 17)]


@pytest.mark.promise("S90", "S91", "S92", "S93", "S94")
def test_more_than_64_cores_are_multiples_of_eight_on_eight_sockets() -> None:
    assert allowed(65, 1000) == list(range(72, 249, 8))
    assert [topology(cores) for cores in allowed(65, 248)] == [(8, part) for part in range(9, 32)]


@pytest.mark.promise("S96")
@pytest.mark.parametrize("cores", range(1, MAX_CORES + 1))
def test_the_step_is_what_keeps_sockets_equal(cores: int) -> None:
    sockets, each = topology(cores)
    assert (sockets * each == cores) == (problem(cores) is None)


@pytest.mark.promise("S97")
@pytest.mark.parametrize("cores", [249, 256, 10**9])
def test_248_is_the_most(cores: int) -> None:
    assert problem(cores) == f"must be at most 248, not {cores}"
    assert problem(248) is None


@pytest.mark.parametrize("cores", [17, 19, 31, 33, 34, 35, 37, 63, 65, 66, 71, 73, 247])
def test_a_refusal_names_the_step_and_the_neighbours_that_are_allowed(cores: int) -> None:
    message = problem(cores) or ""
    assert f"multiple of {topology(cores).sockets} " in message
    below, above = (int(word) for word in message.rpartition("take ")[2].split(" or "))
    assert below < cores < above
    assert problem(below) is None
    assert problem(above) is None


@pytest.mark.parametrize("cores", [0, -1])
def test_there_is_at_least_one(cores: int) -> None:
    assert problem(cores) == f"must be at least 1, not {cores}"
