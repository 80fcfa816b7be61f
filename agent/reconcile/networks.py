"""What libvirt's networks show, as facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agent.core.facts import Engine
from agent.core.known import HELD, NETWORK
from agent.core.network import Held, NetworkReading


class Networks:
    """Puts readings of networks into an engine. One that began before a newer one of the same
    network is dropped.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, dict[str, NetworkReading]] = {}
        """By node and name."""
        self._read_at: dict[tuple[str, str], int] = {}
        """Number of the newest read of a network by itself, by (node, name)."""
        self._full_at: dict[str, int] = {}
        """Number of the last full read of a node."""

    def known(self, node: str) -> Mapping[str, NetworkReading]:
        """Every network of a node as last read, by name."""
        return self._known.get(node, {})

    def entries(self) -> Iterator[tuple[str, Held]]:
        """All that networks hold for somebody, each with its node."""
        for node, readings in self._known.items():
            yield from ((node, held) for reading in readings.values() for held in reading.held)

    def read_all(self, number: int, node: str, readings: Mapping[str, NetworkReading]) -> None:
        """All of a node's have been read."""
        gone = self._known.get(node, {}).keys() - readings.keys()
        for name in sorted(gone):
            self.read(number, node, name, None)
        for name, reading in readings.items():
            self.read(number, node, name, reading)
        self._full_at[node] = number

    def read(self, number: int, node: str, name: str, reading: NetworkReading | None) -> None:
        """One of them has been read."""
        newest = max(self._read_at.get((node, name), -1), self._full_at.get(node, -1))
        if number < newest:
            return
        self._read_at[node, name] = number
        known = self._known.setdefault(node, {})
        before = known.pop(name, None)
        if reading is not None:
            known[name] = reading
        if reading is before:
            return
        self._engine.put(NETWORK, (node, name), None if reading is None else reading.network)
        held, now = _held(before), _held(reading)
        self._amend(node, held - now, there=False)
        self._amend(node, now - held, there=True)

    def _amend(self, node: str, held: Iterable[Held], *, there: bool) -> None:
        for each in held:
            for key in {each.address, each.mac, each.name} - {""}:
                known = self._engine.get(HELD, key) or ()
                place = (node, each)
                places = {*known, place} if there else {*known} - {place}
                self._engine.put(HELD, key, tuple(sorted(places)) or None)


def _held(reading: NetworkReading | None) -> frozenset[Held]:
    """What a network holds for others, and the host's own addresses on it: those for no card."""
    if reading is None:
        return frozenset()
    network = reading.network
    own = (Held(network.name, "", str(address.ip)) for address in network.addresses)
    return frozenset((*reading.held, *own))
