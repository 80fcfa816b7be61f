"""`gitvirt node forget`, with an agent played by the test."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.cli.follow import follow
from agent.core.nodes import removed
from agent.core.status import seconds
from agent.gitrepo.local import LocalRepository
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, machine, whole

READY = {"name": "host-a", "ready": True, "message": ""}
PATH = "nodes/host-b.yaml"


@pytest.fixture(autouse=True)
def known(fleet: Fleet) -> None:
    """host-b was taken out of the settings."""
    agent(fleet)
    there = {"home": "host-b", "nodeName": "host-b"}
    fleet.write(
        machine("linux-vm"),
        machine("old", "Unknown", status=there),
        whole("VirtualDisk", "data", {}, {"phase": "Ready", "home": "host-b"}),
    )


def agent(fleet: Fleet, *forgotten: str) -> None:
    gone = [] if forgotten else [removed("host-b")]
    told = {"forgotten": list(forgotten)} if forgotten else {}
    fleet.agent(node=None, nodes=[READY, *gone], **told)


@contextmanager
def taken_up(fleet: Fleet) -> Iterator[None]:
    """The agent forgets the node once it is asked to."""

    def play() -> None:
        with LocalRepository(fleet.root) as repository:
            for refs in follow(repository, 60):
                if "refs/heads/operations" in refs:
                    break
        asked.update(fleet.operations())
        agent(fleet, "host-b")

    asked: dict[str, Any] = {}
    playing = threading.Thread(target=play)
    playing.start()
    yield
    playing.join()
    assert asked.keys() == {PATH}
    assert seconds(asked[PATH]["metadata"]["annotations"]["gitvirt.io/forget"]) > time.time()


LEFT = [
    "Known to be on node host-b:",
    "  VirtualMachine default/old (Unknown)",
    "  VirtualDisk default/data (Ready)",
]


def test_it_says_what_it_gives_up_and_does_nothing_unasked(gitvirt: Gitvirt, fleet: Fleet) -> None:
    ended = gitvirt("node", "forget", "host-b")
    assert ended.code == 1
    assert "say --yes" in ended.err
    assert ended.lines[:3] == LEFT
    assert fleet.operations() == {}


def test_a_node_is_forgotten_and_its_file_goes(gitvirt: Gitvirt, fleet: Fleet) -> None:
    with taken_up(fleet):
        ended = gitvirt("node", "forget", "host-b", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[:3] == LEFT
    assert ended.lines[-1] == "node/host-b forgotten"
    assert fleet.operations() == {}
    assert gitvirt("node", "forget", "host-b").lines == ["node/host-b forgotten"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_sits_at_a_terminal_is_asked(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    ended = gitvirt("node", "forget", "host-b")
    assert (ended.code, fleet.operations()) == (1, {})
    assert "nothing is forgotten" in ended.err
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    with taken_up(fleet):
        assert gitvirt("node", "forget", "host-b").code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("host-a", "is among the nodes of the agent's settings"),
        ("host-x", "there is no node 'host-x'; known are host-a, host-b"),
    ],
)
def test_a_node_of_the_settings_or_of_nobody_is_not_forgotten(
    gitvirt: Gitvirt, fleet: Fleet, name: str, message: str
) -> None:
    ended = gitvirt("node", "forget", name, "--yes")
    assert (ended.code, fleet.operations()) == (1, {})
    assert message in ended.err


def test_its_manifest_goes_first(gitvirt: Gitvirt, fleet: Fleet) -> None:
    node = whole("Node", "host-b", {}, {}, namespace="")
    node["metadata"]["annotations"] = {"gitvirt.io/source": "0123:nodes.yaml"}
    fleet.write(node)
    ended = gitvirt("node", "forget", "host-b", "--yes")
    assert (ended.code, fleet.operations()) == (1, {})
    assert "has a manifest on main, nodes.yaml: delete it there first" in ended.err


def test_an_agent_that_does_not_answer_is_told(gitvirt: Gitvirt, fleet: Fleet) -> None:
    ended = gitvirt("node", "forget", "host-b", "--yes", "--timeout", "0.1s")
    assert ended.code == 1
    assert "has not forgotten node host-b yet" in ended.err
    assert fleet.operations().keys() == {PATH}
