"""Starts that fail on a real host: whoever ends what starts up, the machine comes up, and nobody is told so before it has."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import libvirt
import pytest
import watchfiles

from agent.core.model import Json
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import LOOK, PATIENCE, Stand, find
from tests.e2e.test_kill import machine, message, operations, running
from tests.hosts import end_process

OPERATION = "VirtualMachineOperation"
WRITER = 201
"""Whoever holds this byte of an image lets nobody else write to it: so QEMU understands it."""
STARTING_UP = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP]


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand) -> Iterator[Stand]:
    with make_stand("starts") as stand:
        yield stand


@pytest.fixture(autouse=True)
def agent(stand: Stand) -> None:
    """An agent runs whatever has become of the test before."""
    if not stand.started:
        stand.start()


@contextlib.contextmanager
def open_elsewhere(stand: Stand, name: str) -> Iterator[None]:
    """Somebody else has the machine's disk open."""
    with stand.disk(name).open("rb") as volume:
        fcntl.lockf(volume, fcntl.LOCK_SH, 1, WRITER)
        yield


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_disk_that_somebody_else_has_open(stand: Stand, verb: str) -> None:
    name = f"shared-{verb}"
    running(stand, name)
    if verb == "start":
        stand.gitvirt("stop", name, "--force", "--wait")
    earlier = set(operations(stand, name))
    with ThreadPoolExecutor(1) as people:
        with open_elsewhere(stand, name):
            asked = people.submit(stand.gitvirt, verb, name, "--wait", "--timeout", "80s")
            stand.wait_for(lambda: 'write" lock' in message(stand, name), "a start that fails")
            (operation,) = set(operations(stand, name)) - earlier
            status = stand.status(OPERATION, operation)
            assert status["phase"] == "InProgress"
            assert 'write" lock' in find(status, "Completed", "False")["message"]
            # the agent tries again and again, and what starts up is active in libvirt before QEMU finds the lock
            state: Json = stand.domain(name).state()
            assert state[0] != libvirt.VIR_DOMAIN_RUNNING
            assert not asked.done()
        assert f"{verb}ed. " in asked.result()
    assert stand.runs(name)
    stand.wait_for_phase("VirtualMachine", name, "Running")


def test_a_restart_that_is_not_completed_in_time_says_why(stand: Stand) -> None:
    running(stand, "late")
    with open_elsewhere(stand, "late"):
        told = stand.gitvirt("restart", "late", "--force", "--wait", "-t", "5s", ok=False)
        assert "is not completed after 5s and goes on" in told
        assert 'write" lock' in told
    stand.wait_for_phase("VirtualMachine", "late", "Running")


def held(stand: Stand, name: str, *verb: str) -> tuple[str, int]:
    """Ask for an operation; its name, and the process id of the VM's next QEMU, which is held still while it starts up. On a busy
    machine that may come too late: then it is let go, and asked for again.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        operation, pid = stopped(stand, name, *verb)
        state: Any = stand.domain(name).state()
        if state == STARTING_UP:
            return operation, pid
        end_process(pid, signal.SIGCONT)
        stand.wait_for_phase(OPERATION, operation, "Completed")
        verb = ("restart", "--force")
    raise AssertionError("QEMU was always held too late")


def stopped(stand: Stand, name: str, *verb: str) -> tuple[str, int]:
    folder = stand.session.root / "run" / "libvirt" / "qemu" / "run"
    known, earlier = set(operations(stand, name)), process(stand, name)
    end = time.monotonic() + PATIENCE
    watch = watchfiles.watch(folder, step=1, debounce=1, rust_timeout=LOOK, yield_on_timeout=True)
    with contextlib.closing(watch) as changes, ThreadPoolExecutor(1) as people:
        next(changes)
        asked = people.submit(stand.gitvirt, *verb, name)
        while (pid := process(stand, name)) in (0, earlier):
            assert time.monotonic() < end, f"{name} was not started again"
            next(changes)
        end_process(pid, signal.SIGSTOP)
        asked.result()
    while "T (stopped)" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end, "QEMU does not stop"  # a process stops when it is scheduled
    (operation,) = set(operations(stand, name)) - known
    return operation, pid


def process(stand: Stand, name: str) -> int:
    """The process id of a VM's QEMU; 0 while there is none."""
    try:
        pid = stand.qemu_pid(name)
        while not Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system-"):
            pass  # libvirt has forked and is about to execute it
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return pid


def attempted(stand: Stand) -> str:
    """The newest revision that the agent has looked at."""
    return str(stand.file("agent.yaml").get("attempted", {}).get("revision", ""))


@pytest.mark.parametrize("ended", ["qemu", "libvirtd", "agent and qemu", "agent"])
def test_something_ends_while_a_restart_starts_up(stand: Stand, ended: str) -> None:
    name = f"{ended.replace(' ', '-')}-ended"
    running(stand, name)
    operation, pid = held(stand, name, "restart", "--force")
    instances = stand.instances(name)
    try:
        if "agent" in ended:
            stand.kill()
            stand.start()
        revision = stand.push({"note.txt": ended})
        stand.wait_for(lambda: attempted(stand) == revision, "a pass meanwhile")
        assert stand.phase(OPERATION, operation) == "InProgress"
        if ended == "libvirtd":
            end_process(stand.session.daemon_pid())
            end_process(pid, signal.SIGCONT)  # the next daemon waits for it to answer
            stand.wait_for_phase(OPERATION, operation, "Completed")
            stand.reopen()
        elif "qemu" in ended:
            end_process(pid)
    finally:
        end_process(pid, signal.SIGCONT)
    stand.wait_for_phase(OPERATION, operation, "Completed")
    stand.wait_for_phase("VirtualMachine", name, "Running")
    assert stand.runs(name)
    assert stand.instances(name) == instances + (ended != "agent")
    assert stand.phases(OPERATION, operation)[-2:] == ["InProgress", "Completed"]


def test_a_manual_machine_whose_start_is_cut_off_runs_all_the_same(stand: Stand) -> None:
    name = "by-hand"
    revision = stand.push({f"{name}.yaml": machine(name, runPolicy="Manual")})
    stand.wait_for_phase("VirtualMachine", name, "Stopped")
    stand.wait_for(lambda: stand.applied(revision), "the push")
    operation, pid = held(stand, name, "start")
    end_process(pid)
    stand.wait_for_phase(OPERATION, operation, "Completed")
    assert stand.runs(name)
