"""Which QEMU an instance runs on. A node gets a newer one at any time; what runs goes on with the
one that it was started with, or that it came to on its way here, until it is started anew or moved.

libvirt does not say it of an instance. So it is noted down when an instance is seen for the first
time on its node, as what that node has then; of one that nobody has seen since before an upgrade
too much is believed, never too little: nobody is moved for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.core.facts import View
from agent.core.known import MANNER
from agent.core.migrating import Manner
from agent.core.model import Condition, Json
from agent.kinds.local import places, several
from agent.kinds.virtual_machine.evacuation import FIRMWARE, Cause
from agent.kinds.virtual_machine.situation import Situation

NOTED = "engine"
"""Key of the status: instance, host, qemu, and which version it was asked to move for."""
ASKED = "askedFor"


def noted(case: Situation, *, asked: bool = False) -> dict[str, Json]:
    """What the status notes down. `asked`: an operation moves it to a newer one."""
    raw, known = case.seen.raw, dict(case.previous.get(NOTED, {}))
    if raw is None or not raw.active:
        return {}
    if raw.starting or case.way is not None:  # it may come to nothing
        return known
    if not _is_about(known, case):
        known = {**_itself(case), "qemu": case.at.node.qemu_version}
    if asked:
        known[ASKED] = case.at.node.qemu_version
    return known


def version(case: Situation) -> str:
    """The version that it runs on, or else that the next instance will."""
    known = noted(case)
    return str(known.get("qemu") or case.at.node.qemu_version)


def _itself(case: Situation) -> dict[str, str]:
    instance = case.seen.running.instance if case.seen.running is not None else ""
    return {"instance": instance, "host": case.at.node.host or case.at.name}


def _is_about(known: Mapping[str, Json], case: Situation) -> bool:
    return all(known.get(name) == value for name, value in _itself(case).items())


def _behind(case: Situation) -> str:
    """The version that it runs on, where its node has a newer one; else empty."""
    known = case.previous.get(NOTED, {})
    raw = case.seen.raw
    if raw is None or not raw.active or not _is_about(known, case):
        return ""
    runs = str(known.get("qemu", ""))
    return runs if _numbers(runs) < _numbers(case.at.node.qemu_version) else ""


def _numbers(text: str) -> tuple[int, ...]:
    """Empty where nobody knows."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(map(str.isdecimal, parts)) else ()


def cause(case: Situation, view: View) -> Cause | None:
    """Why it is to move by itself: once an instance and version, where another node has one that is
    newer than what it runs on.
    """
    runs, has = _behind(case), case.at.node.qemu_version
    manner = view.read(MANNER, None) or Manner()
    if not runs or not manner.firmware_updates or case.deleted:
        return None
    nodes = frozenset(_newer(case, view, runs))
    if not nodes:
        return None
    told = f"It runs on QEMU {runs}, and its node has {has} by now."
    instance = _itself(case)["instance"]
    token = f"{case.at.name} {instance} {runs} {has}"
    spent = case.previous.get(NOTED, {}).get(ASKED) == has
    return Cause(FIRMWARE, token, told, nodes, once=True, spent=spent)


def _newer(case: Situation, view: View, than: str) -> Iterator[str]:
    for to in places(view):
        if to.name != case.at.name and _numbers(to.node.qemu_version) > _numbers(than):
            yield to.name


def conditions(case: Situation, view: View) -> list[Condition]:
    """FirmwareUpToDate, while it is not."""
    runs = _behind(case)
    if not runs:
        return []
    how = "a restart brings it onto that one"
    if several(view) and any(_newer(case, view, runs)):
        how = "a move to another node that has a newer one, or a restart, brings it onto that"
    has = f"node {case.at.name} has {case.at.node.qemu_version}"
    message = f"It runs on QEMU {runs}, and {has} by now: {how}."
    return [Condition("FirmwareUpToDate", "False", "FirmwareOutOfDate", message)]
