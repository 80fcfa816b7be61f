"""Whatever becomes of nodes and of what is said of them: a machine never runs twice, and its data stays."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.identity import POOL
from tests.memory_host import MemoryHost
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.product.test_substitutes import fence

NODES = ("pt-1", "pt-2", "pt-3")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["dies", "parts", "back", "fence", "unfence", "kill", "poweroff", "move", "long"]
        ),
        st.sampled_from(NODES),
    ),
    min_size=3,
    max_size=12,
)
FEW = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


class History:
    def __init__(self, *, honest: bool) -> None:
        self.rig: Fleet = fleet(Path(tempfile.mkdtemp()), SHARED)
        self.honest = honest
        self.disks = {name for name in self.rig.volumes("pt-1") if "_disk_" in name}
        for host in self.rig.hosts.values():
            host.on_effect = lambda _verb, _phase: self.holds()
            if honest:
                _minds_nothing_but_tries(host, list(self.rig.hosts.values()))

    def holds(self) -> None:
        assert len(self.rig.on()) <= 1
        assert self.disks <= {*self.rig.host.pools[POOL]}

    def step(self, what: str, node: str) -> None:
        rig, host = self.rig, self.rig.hosts[node]
        match what:
            case "dies":
                host.disconnect()
                with host._lock:
                    for raw in list(host._domains.values()):
                        host._forget(raw)
            case "parts":
                host.disconnect()
            case "back":
                host.reconnect()
            case "fence":
                off = not any(raw.active for raw in host._domains.values())
                if not host.reachable and (off or not self.honest):
                    fence(rig, node)
            case "unfence":
                fence(rig, node, at=None)
            case "kill":
                rig.start()
            case "poweroff" if rig.uuid() in host._domains:
                host.guest_poweroff(rig.uuid())
            case "move":
                rig.ask(name=f"move-{len(rig.documents())}-{int(rig.now)}")
        rig.go(150 if what == "long" else 25)
        self.holds()

    def ends(self) -> None:
        """All of them are back: just one copy is left, and its guest runs, or was switched off by itself."""
        for host in self.rig.hosts.values():
            host.reconnect()
        self.rig.go(150)
        self.holds()
        assert len(self.rig.there()) == 1, self.rig.vm()["status"]
        assert self.rig.on() or self.rig.vm()["status"]["phase"] == "Stopped"


def _minds_nothing_but_tries(host: MemoryHost, every: list[MemoryHost]) -> None:
    """Its locks hold where they are tried, and nowhere else: what keeps a machine from running twice is the agent alone."""

    def locked(path: str, uuid: str = "") -> bool:
        return not uuid and any(path in each.held.values() for each in every)

    host._locked = locked  # type: ignore[method-assign]


@FEW
@given(STEPS)
def test_where_what_is_said_is_true_no_lock_is_needed(steps: list[tuple[str, str]]) -> None:
    history = History(honest=True)
    for step in steps:
        history.step(*step)
    history.ends()


@FEW
@given(STEPS)
def test_where_somebody_is_wrong_the_locks_hold(steps: list[tuple[str, str]]) -> None:
    history = History(honest=False)
    for step in steps:
        history.step(*step)
    history.ends()
