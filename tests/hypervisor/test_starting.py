"""What every host shows of a domain in the middle of its start: its QEMU process is there, and its guest does not run yet."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.host import HostError, RawDomain
from tests.hosts import PATIENCE, Session, end_process
from tests.hypervisor.rigs import Rig, metadata_xml
from tests.memory_host import MemoryHost


@dataclass(frozen=True)
class Half:
    """A start in its middle."""

    start: Future[None]
    go_on: Callable[[], None]
    fail: Callable[[], None]


@contextlib.contextmanager
def half_started(rig: Rig, uuid: str) -> Iterator[Half]:
    with ThreadPoolExecutor(1) as pool:
        if rig.session is None:
            yield from _in_memory(rig, uuid, pool)
        else:
            yield from _on_qemu(rig, rig.session, uuid, pool)


def _in_memory(rig: Rig, uuid: str, pool: ThreadPoolExecutor) -> Iterator[Half]:
    reached, ended, fails = threading.Event(), threading.Event(), threading.Event()

    def effect(verb: str, when: str) -> None:
        if (verb, when) == ("start", "middle"):
            reached.set()
            assert ended.wait(PATIENCE)
            if fails.is_set():
                raise HostError("HypervisorError", "QEMU ended at once")

    def fail() -> None:
        fails.set()
        ended.set()

    assert isinstance(rig.host, MemoryHost)
    rig.host.on_effect = effect
    start = pool.submit(rig.host.start, uuid)
    assert reached.wait(PATIENCE)
    try:
        yield Half(start, ended.set, fail)
    finally:
        ended.set()


def _on_qemu(rig: Rig, session: Session, uuid: str, pool: ThreadPoolExecutor) -> Iterator[Half]:
    start = pool.submit(rig.host.start, uuid)
    pid, end = 0, time.monotonic() + PATIENCE
    while not pid:  # until libvirt has forked and executed it
        assert time.monotonic() < end
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            found = session.qemu_pid("web")
            if Path(f"/proc/{found}/comm").read_text().startswith("qemu-system-"):
                pid = found
    os.kill(pid, signal.SIGSTOP)
    try:
        yield Half(start, lambda: end_process(pid, signal.SIGCONT), lambda: end_process(pid))
    finally:
        end_process(pid, signal.SIGCONT)


def read(rig: Rig, uuid: str) -> RawDomain:
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    return domain


def test_a_domain_that_starts_up_is_active_and_says_so(full_rig: Rig) -> None:
    uuid = full_rig.define(note="first")
    with half_started(full_rig, uuid) as half:
        full_rig.events.until(lambda: read(full_rig, uuid).starting)
        domain = read(full_rig, uuid)
        assert domain.active
        assert metadata_xml("first").split("note=")[1][:7] in domain.active_xml
        assert not half.start.done()
        half.go_on()
        half.start.result(PATIENCE)
    domain = read(full_rig, uuid)
    assert (domain.state, domain.active, domain.starting) == ("running", True, False)


def test_a_start_whose_process_ends_in_its_middle_has_failed(full_rig: Rig) -> None:
    uuid = full_rig.define()
    before = read(full_rig, uuid)
    with half_started(full_rig, uuid) as half:
        full_rig.events.until(lambda: read(full_rig, uuid).starting)
        half.fail()
        with pytest.raises(HostError) as raised:
            half.start.result(PATIENCE)
    assert raised.value.retry
    domain = read(full_rig, uuid)
    assert (domain.state, domain.reason, domain.active_xml) == ("shutoff", "failed", "")
    assert domain.inactive_xml == before.inactive_xml


def test_starting_what_starts_up_already_waits_for_its_end(session_rig: Rig) -> None:
    """Its call may be somebody else's, whose end nobody would be told of."""
    uuid = session_rig.define()
    with half_started(session_rig, uuid) as half, ThreadPoolExecutor(1) as pool:
        session_rig.events.until(lambda: read(session_rig, uuid).starting)
        assert session_rig.session is not None
        other = session_rig.session.open()
        try:
            again = pool.submit(other.start, uuid)
            half.fail()
            again.exception(PATIENCE)  # it waited for a start that has failed
            session_rig.events.until(lambda: not read(session_rig, uuid).starting)
            if read(session_rig, uuid).state != "running":
                other.start(uuid)
        finally:
            other.close()
    assert read(session_rig, uuid).state == "running"
