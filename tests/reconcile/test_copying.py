"""A copy that is cut in half is never taken for a whole one, and a whole one is never replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.host import HostError, version
from agent.core.identity import POOL
from agent.core.known import VOLUME, VOLUME_AT
from agent.reconcile.execute import Outcome
from tests.memory_host import Killed, MemoryHost, Volume
from tests.reconcile.test_verbs import (
    HERE,
    NEW,
    PATH,
    USED,
    VM,
    Known,
    copy,
    definition,
    executor,
    nothing,
    prepared,
    ticket,
)

DATA = b"data of a disk"


def stage() -> MemoryHost:
    host = prepared(nothing)
    host.pools[POOL][USED].content = DATA
    return host


def copied(host: MemoryHost, folder: Path) -> Outcome:
    return executor(folder, host).run(ticket(copy()))


def shown(host: MemoryHost) -> bytes | None:
    """What decisions may take for the copy."""
    engine = Known(host).engine
    there = engine.get(VOLUME_AT, (POOL, NEW)) is not None
    assert there == (engine.get(VOLUME, (HERE, POOL, NEW)) is not None)
    return host.pools[POOL][NEW].content if there else None


def effects(folder: Path) -> list[tuple[str, str]]:
    """Everything that a copy does, and the moments around it."""
    host, seen = stage(), list[tuple[str, str]]()
    host.on_effect = lambda verb, phase: seen.append((verb, phase))
    assert copied(host, folder).done == ["CopyVolume"]
    return seen


def breaking(number: int, error: BaseException) -> Callable[[str, str], None]:
    left = [number]

    def broken(_verb: str, _phase: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error

    return broken


def test_a_copy_has_all_that_its_source_shows_and_nothing_below_it(tmp_path: Path) -> None:
    host = stage()
    host.pools[POOL]["top"] = Volume(f"{PATH}/top", 1 << 20, f"{PATH}/{USED}", allocated=1)
    executor(tmp_path, host).run(ticket(copy("top")))
    made = host.pools[POOL][NEW]
    assert (made.content, made.backing_path) == (DATA, "")
    assert sorted(host.pools[POOL]) == sorted([USED, "top", NEW])


@pytest.mark.parametrize("again", [1, 2])
def test_the_agent_is_killed_at_any_instruction(tmp_path: Path, again: int) -> None:
    moments = effects(tmp_path)
    assert ("copy_volume", "middle") in moments
    for number in range(1, len(moments) + 1):
        host = stage()
        for _ in range(again):
            host.on_effect = breaking(number, Killed())
            with pytest.raises(Killed):
                copied(host, tmp_path)
            assert shown(host) in (None, DATA)
            if shown(host):
                break
        host.on_effect = lambda _verb, _phase: None
        assert copied(host, tmp_path).done == ["CopyVolume"]
        assert (shown(host), sorted(host.pools[POOL])) == (DATA, sorted([NEW, USED]))


def test_a_copy_that_fails_anywhere_leaves_nothing_over(tmp_path: Path) -> None:
    moments = effects(tmp_path)
    for number, (verb, phase) in enumerate(moments, 1):
        host = stage()
        host.on_effect = breaking(number, HostError("HypervisorError", "no"))
        outcome = copied(host, tmp_path)
        assert outcome.reason == "HypervisorError"
        begun = verb != "copy_volume"
        assert shown(host) in (None, DATA)
        if not begun:
            assert sorted(host.pools[POOL]) == [USED], (verb, phase)
        host.on_effect = lambda _verb, _phase: None
        assert copied(host, tmp_path).done == ["CopyVolume"]
        assert (shown(host), sorted(host.pools[POOL])) == (DATA, sorted([NEW, USED]))


def test_a_whole_copy_is_never_made_again(tmp_path: Path) -> None:
    host = stage()
    copied(host, tmp_path)
    host.pools[POOL][NEW].content = b"a guest wrote this"
    host.verbs.clear()
    assert copied(host, tmp_path).done == ["CopyVolume"]
    assert (shown(host), host.verbs) == (b"a guest wrote this", [])


def test_a_half_copy_that_a_domain_has_is_left_alone(tmp_path: Path) -> None:
    host = stage()
    host.on_effect = lambda verb, phase: _die(verb, phase)
    with pytest.raises(Killed):
        copied(host, tmp_path)
    host.on_effect = lambda _verb, _phase: None
    host.define(definition(file=NEW))
    outcome = copied(host, tmp_path)
    assert (outcome.reason, NEW in host.pools[POOL]) == ("VolumeInUse", True)


def _die(verb: str, phase: str) -> None:
    if (verb, phase) == ("copy_volume", "middle"):
        raise Killed


@pytest.mark.parametrize("free", [0, len(DATA) - 1])
def test_a_pool_without_space_is_said_and_nothing_is_left_over(tmp_path: Path, free: int) -> None:
    host = stage()
    host.free = free
    outcome = copied(host, tmp_path)
    assert (outcome.reason, outcome.retry) == ("NoSpace", True)
    assert f"needs {len(DATA)}" in outcome.message
    assert ([verb for verb, _ in host.verbs], sorted(host.pools[POOL])) == ([], [USED])


def test_a_pool_that_fills_up_meanwhile_is_said_and_nothing_is_left_over(tmp_path: Path) -> None:
    host = stage()
    host.pools[POOL]["top"] = Volume(f"{PATH}/top", 1 << 20, f"{PATH}/{USED}", allocated=1)
    host.free = len(DATA) - 1
    outcome = executor(tmp_path, host).run(ticket(copy("top")))
    assert (outcome.reason, outcome.retry) == ("NoSpace", True)
    assert sorted(host.pools[POOL]) == sorted(["top", USED])


def test_what_is_only_based_on_the_source_does_not_write_to_it(tmp_path: Path) -> None:
    host = stage()
    host.define(definition())
    host.snapshot(VM, f"{PATH}/top")
    before = version(host.read_domain(VM))
    host.start(VM)
    assert version(host.read_domain(VM)) != before
    assert copied(host, tmp_path).done == ["CopyVolume"]


def test_a_domain_that_cannot_be_read_may_write_to_the_source(tmp_path: Path) -> None:
    host = stage()
    host.define(definition(file="other"))
    host.mute.add(VM)
    outcome = copied(host, tmp_path)
    assert (outcome.reason, outcome.outdated) == ("VolumeInUse", True)
    assert "default.vm" in outcome.message


def test_how_far_a_copy_is_is_told(tmp_path: Path) -> None:
    host, told = stage(), list[int]()
    on_host = executor(tmp_path, host)
    on_host._source = type(on_host._source)(  # the same, listening
        on_host._source.spool, 0, on_host._source.reach, lambda news: told.append(news.percent)
    )
    on_host.run(ticket(copy()))
    assert told == [50]
