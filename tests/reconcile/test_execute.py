"""What is stored under a name is there whole, whatever was there before."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from agent.core.actions import WriteSeed
from agent.core.identity import POOL
from agent.core.model import Key
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.supply import Source
from tests.memory_host import MemoryHost, Volume

SEED = WriteSeed(
    "node-1", POOL, "seed.iso", "id", "vm", sysprep=False, files={"user-data": b"#cloud-config\n"}
)


@pytest.fixture
def host() -> MemoryHost:
    host = MemoryHost()
    host.ensure_pool(POOL)
    host.verbs.clear()
    return host


def carried_out(host: MemoryHost, folder: Path) -> Outcome:
    executor = Executor(
        hosts={host.name: host},
        source=Source(folder, 0, Reach(), lambda _news: None),
        number=itertools.count().__next__,
        stopping=lambda: False,
        may_act=lambda: True,
    )
    return executor.run(Ticket(Key("VirtualMachine", "default", "vm"), 1, (SEED,)))


def verbs(host: MemoryHost) -> list[str]:
    return [verb for verb, _ in host.verbs]


@pytest.mark.parametrize("part", [0, 1000, 1 << 19])
def test_a_part_is_made_anew(host: MemoryHost, tmp_path: Path, part: int) -> None:
    carried_out(host, tmp_path)
    whole = host.pools[POOL]["seed.iso"].content
    host.pools[POOL]["seed.iso"] = Volume("/seed.iso", part, content=whole[:part])
    host.verbs.clear()
    assert carried_out(host, tmp_path).done == ["WriteSeed"]
    assert host.pools[POOL]["seed.iso"].content == whole
    assert verbs(host) == ["delete_volume", "create_volume", "upload_volume"]


def test_what_is_there_whole_is_left_alone(host: MemoryHost, tmp_path: Path) -> None:
    carried_out(host, tmp_path)
    host.verbs.clear()
    (seen,) = carried_out(host, tmp_path).seen
    assert verbs(host) == []
    assert getattr(seen, "volume", None) == host.read_volumes(POOL)[POOL, "seed.iso"]
