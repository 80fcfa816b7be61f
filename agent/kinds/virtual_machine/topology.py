"""How a number of cores becomes sockets and cores per socket."""

from __future__ import annotations

from typing import NamedTuple

MAX_CORES = 248

_SOCKETS = ((16, 1), (32, 2), (64, 4))
"""Up to so many cores, so many sockets."""
_MOST_SOCKETS = 8


class Topology(NamedTuple):
    sockets: int
    cores_per_socket: int


def topology(cores: int) -> Topology:
    """Sockets by range, cores spread evenly over them and rounded up; one of each below 1."""
    wanted = max(cores, 1)
    sockets = next((count for limit, count in _SOCKETS if wanted <= limit), _MOST_SOCKETS)
    return Topology(sockets, -(-wanted // sockets))


def problem(cores: int) -> str | None:
    """Why a number of cores cannot be had, or None."""
    if cores < 1:
        return f"must be at least 1, not {cores}"
    if cores > MAX_CORES:
        return f"must be at most {MAX_CORES}, not {cores}"
    sockets = topology(cores).sockets
    if cores % sockets == 0:
        return None
    below, above = cores - cores % sockets, cores - cores % sockets + sockets
    # one step down may fall into the range of fewer sockets, where it is allowed as well
    return (
        f"must be a multiple of {sockets} so that the cores spread evenly over {sockets} sockets, "
        f"not {cores}: take {below} or {above}"
    )
