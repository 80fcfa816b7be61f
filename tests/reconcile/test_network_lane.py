"""Networks are changed in a lane of their own, and read again whatever came of it."""

from __future__ import annotations

import itertools
from pathlib import Path

from agent.core.actions import Action, DestroyDomain
from agent.core.model import Key
from agent.core.network import Held
from agent.core.network_actions import HoldAddress, MakeNetwork
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.news import NodeLanes, Task
from agent.reconcile.supply import Source
from agent.reconcile.verbs import lane
from agent.reconcile.world import NetworkRead
from tests.memory_host import NODE, MemoryHost
from tests.reconcile.test_verbs import WEB, net

HERE = NODE.name
KEY = Key("VirtualMachine", "default", "web")


def carried_out(tmp_path: Path, host: MemoryHost, *wanted: Action) -> Outcome:
    source = Source(tmp_path, 0, Reach(), lambda _news: None)
    number = itertools.count(1).__next__
    executor = Executor({HERE: host}, source, number, lambda: False, lambda: True)
    return executor.run(Ticket(KEY, 1, wanted))


def test_what_changes_networks_alone_keeps_nothing_else_waiting() -> None:
    taken: list[str] = []

    def into(name: str) -> object:
        return lambda _task: taken.append(name)

    names = ("reads", "actions", "volumes", "imports", "guests", "networks", "moves")
    lanes = NodeLanes(**{name: into(name) for name in names})  # type: ignore[arg-type]
    make, hold = MakeNetwork(HERE, net()), HoldAddress(HERE, WEB)
    for actions in ((make, hold), (hold,), (DestroyDomain(HERE, "u", "i"), hold)):
        lane(actions, lanes)(Task(lambda: None))
    assert taken == ["networks", "networks", "actions"]


def test_networks_are_read_again_also_where_it_failed(tmp_path: Path) -> None:
    host = MemoryHost()
    theirs = Held("gitvirt", WEB.mac, "10.66.10.77")
    host.make_network(net())
    host.hold_address(theirs)
    outcome = carried_out(tmp_path, host, MakeNetwork(HERE, net()), HoldAddress(HERE, WEB))
    assert outcome.reason == "AddressTaken"
    (seen,) = outcome.seen
    assert isinstance(seen, NetworkRead)
    assert seen.name == "gitvirt"
    assert seen.reading is not None
    assert seen.reading.held == (theirs,)
