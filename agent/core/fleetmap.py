"""Which machines are on which nodes, kept up to date machine by machine, for the picture."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable

from agent.core.nodes import Told, ready
from agent.core.picture import NAMED, Machine, Node, draw
from agent.core.quantity import to_bytes


class FleetMap:
    """It is drawn again only when something in it has changed."""

    def __init__(self) -> None:
        self._machines: dict[str, list[Machine]] = {}
        """By node, sorted; an empty name is none."""
        self._counts: dict[str, Counter[str]] = {}
        self._used: dict[str, Counter[str]] = {}
        self._total = 0
        self._drawn: tuple[list[Node], bytes] = ([], b"")

    def put(self, node: str, machine: Machine) -> None:
        """A machine is there."""
        insort(self._machines.setdefault(node, []), machine)
        self._count(node, machine, 1)

    def drop(self, node: str, machine: Machine) -> None:
        """A machine that was put is gone."""
        machines = self._machines[node]
        del machines[bisect_left(machines, machine)]
        self._count(node, machine, -1)
        if not machines:
            del self._machines[node], self._counts[node], self._used[node]

    def picture(self, known: Iterable[Told]) -> bytes:
        """fleet.svg; `known` is what agent.yaml says of the nodes."""
        named = self._total <= NAMED
        about = {str(node["name"]): node for node in known}
        nodes = [
            Node(
                name=name,
                memory=_bytes(about.get(name, {}).get("memory")),
                ready=ready(about.get(name, {})),
                counts=dict(+self._counts.get(name, Counter())),
                used=dict(+self._used.get(name, Counter())),
                machines=tuple(self._machines.get(name, ())) if named else (),
            )
            for name in sorted(about.keys() | self._machines.keys())
        ]
        if nodes != self._drawn[0] or not self._drawn[1]:
            self._drawn = nodes, draw(nodes)
        return self._drawn[1]

    def _count(self, node: str, machine: Machine, step: int) -> None:
        self._total += step
        self._counts.setdefault(node, Counter())[machine.phase] += step
        self._used.setdefault(node, Counter())[machine.phase] += step * machine.memory


def _bytes(quantity: object) -> int:
    try:
        return to_bytes(str(quantity)) if quantity else 0
    except ValueError:
        return 0
