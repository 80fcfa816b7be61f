"""QEMU's helper, by which a user's session connects machines to a bridge of the host: only where
the system's own rules allow that bridge, and the helper may act as root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

RULES = "/etc/qemu/bridge.conf"
HELPER = "/usr/lib/qemu/qemu-bridge-helper"
"""Debian's and Ubuntu's."""
_COMMAND = re.compile(r"(\S*qemu-bridge-helper) \S*.*?--br=(\S+)")


def allows(rules: str, bridge: str) -> bool:
    """True if the text of the rules allows a bridge, or leaves that to a file that it includes."""
    said = {(what, name) for what, name in _rules(rules) if name in ("all", bridge)}
    denied = any(what == "deny" for what, _ in said)
    allowed = any(what == "allow" for what, _ in said)
    elsewhere = any(what == "include" for what, _ in _rules(rules))
    return not denied and (allowed or elsewhere)


def _rules(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        what, _, name = line.strip().partition(" ")
        yield what, name.strip()


def mend(bridge: str, helper: str = HELPER) -> str:
    """The commands that allow it."""
    return (
        f"sudo mkdir -p /etc/qemu && echo 'allow {bridge}' | sudo tee -a {RULES} && "
        f"sudo chmod u+s {helper}"
    )


def advice(said: str) -> str:
    """What to do about libvirt's words, where they are of the helper that failed; else nothing."""
    found = _COMMAND.search(said)
    if found is None:
        return ""
    helper, bridge = found.groups()
    return (
        f"a user's session connects no machine to bridge {bridge} unless the host allows it: "
        f"`{mend(bridge, helper)}`"
    )
