"""Begins a backup of a running domain's disks while its guest's file systems are frozen.

A program of its own, which outlives an agent that is killed: a guest that stays frozen can write
nothing any more. It is told what to do on its input, answers in one line, and knows nothing else.
It is run by its path: beside Python's own library it needs nothing but libvirt.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import libvirt

_AGENT_SECONDS = 5
_AGENT_ERRORS = frozenset(
    {
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_INTERNAL_ERROR,
    }
)
_LAST_WORDS = 1.0
"""Seconds from the last moment to thaw in to this program's own end."""


class Freezing:
    """One backup's beginning."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._domain = libvirt.open(order["uri"]).lookupByUUIDString(order["uuid"])
        self._at = time.time()
        self._frozen = self._late = False
        self._count = 0
        """File systems that were frozen."""
        self._begun = threading.Event()

    def begin(self) -> dict[str, str]:
        """Empty where it has begun, else why not."""
        with suppress(libvirt.libvirtError):  # an older libvirtd lacks it
            self._domain.agentSetResponseTimeout(_AGENT_SECONDS, 0)
        self._mark(frozen=True)
        threading.Thread(target=self._watch, daemon=True).start()
        refused = self._freeze()
        if refused and self._order["required"]:
            self._unmark()
            return {"reason": "ConsistencyNotPossible", "message": refused}
        try:
            no_checkpoint: Any = None
            self._domain.backupBegin(
                self._order["xml"], no_checkpoint, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
            )
        except libvirt.libvirtError as error:
            self._begun.set()
            self._thaw()
            self._unmark()
            return {"reason": "", "message": error.get_error_message() or str(error)}
        self._begun.set()
        consistent = not refused and self._thaw() and not self._late
        self._mark(frozen=self._frozen, begun=True, consistent=consistent)
        if self._order["required"] and not consistent:
            with suppress(libvirt.libvirtError):
                self._domain.abortJob()
            message = "the guest could not be kept frozen until the backup had begun"
            return {"reason": "ConsistencyNotPossible", "message": message}
        return {}

    def _freeze(self) -> str:
        """Why the guest's file systems are not frozen; empty if they are."""
        self._frozen = True
        try:
            self._count = self._domain.fsFreeze()
        except libvirt.libvirtError as error:
            # a command without an answer may still be obeyed later
            if error.get_error_code() not in _AGENT_ERRORS or not self._connected():
                self._frozen = False
            else:
                self._thaw()
            return str(error.get_error_message() or error)
        return ""

    def _connected(self) -> bool:
        """True if the guest's agent has its end of the channel open."""
        return "name='org.qemu.guest_agent.0' state='connected'" in self._domain.XMLDesc(0)

    def _thaw(self) -> bool:
        """True if what was frozen has been so until now."""
        try:
            thawed = self._domain.fsThaw()
        except libvirt.libvirtError:
            return False
        self._frozen = False
        return bool(thawed or not self._count)

    def _watch(self) -> None:
        """However long libvirt takes, the guest is thawed in time."""
        limit = float(self._order["limit"])
        if self._begun.wait(limit - _LAST_WORDS):
            return
        self._late = True
        self._thaw()
        if not self._begun.wait(_LAST_WORDS):
            os._exit(1)  # the mark stays and says what may have been left

    def _mark(self, *, frozen: bool, begun: bool = False, consistent: bool = False) -> None:
        said = {"frozen": frozen, "begun": begun, "consistent": consistent}
        flags = " ".join(f"{name}='{'yes' if is_so else 'no'}'" for name, is_so in said.items())
        element = f"<{self._order['tag']} of='{self._order['of']}' at='{self._at:.0f}' {flags}/>"
        self._set_metadata(element)

    def _unmark(self) -> None:
        if not self._frozen:
            self._set_metadata(None)

    def _set_metadata(self, element: Any) -> None:
        self._domain.setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            element,
            self._order["prefix"],
            self._order["namespace"],
            libvirt.VIR_DOMAIN_AFFECT_LIVE,
        )


def _quiet(_context: object, _error: object) -> None:
    """Keeps libvirt from printing an error that is part of the answer."""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends by itself, in seconds
    libvirt.registerErrorHandler(_quiet, None)
    try:
        answer = Freezing(json.load(sys.stdin)).begin()
    except libvirt.libvirtError as error:
        answer = {"reason": "", "message": error.get_error_message() or str(error)}
    with suppress(OSError):  # the agent may be gone
        sys.stdout.write(json.dumps(answer))
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
