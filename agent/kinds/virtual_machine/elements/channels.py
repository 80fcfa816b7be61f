"""`<serial>`, `<channel>` and `<graphics>`: console with a log, guest agent, VNC on a socket of
libvirt's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.model import Json
from agent.core.xml import Element, every
from agent.kinds.virtual_machine.elements.address import Address, virtio_serial
from agent.kinds.virtual_machine.elements.xml import attribute
from agent.kinds.virtual_machine.wanted import Wanted

AGENT = "org.qemu.guest_agent.0"
_AGENT_PORT = 1


@dataclass(frozen=True)
class Channel:
    """Between the host and a program in the guest."""

    name: str
    address: Address


@dataclass(frozen=True)
class Channels:
    console_log: str
    agent: bool
    graphics: str
    """Listener of the VNC server: socket keeps it off every network."""

    @property
    def guest(self) -> tuple[Channel, ...]:
        return (Channel(AGENT, virtio_serial(_AGENT_PORT)),) if self.agent else ()


def expect(wanted: Wanted) -> Channels:
    return Channels(wanted.console_log, agent=True, graphics="socket")


READS = ("channel", "serial", "graphics")


def read(root: Element) -> Channels:
    names = {target.get("name") for target in every(root, "devices", "channel", "target")}
    screens = (
        screen for screen in every(root, "devices", "graphics") if screen.get("type") == "vnc"
    )
    listeners = (
        listener.get("type", "") for screen in screens for listener in every(screen, "listen")
    )
    return Channels(
        console_log=attribute(root, "devices/serial/log", "file"),
        agent=AGENT in names,
        graphics=next(listeners, ""),
    )


def agent_connected(root: Element) -> bool:
    """True if the running instance's guest agent has opened its channel."""
    return any(
        target.get("name") == AGENT and target.get("state") == "connected"
        for target in every(root, "devices", "channel", "target")
    )


def plain(channels: Channels) -> dict[str, Json]:
    return {
        "serial": {"log": channels.console_log or None},
        f"channel {AGENT}": channels.agent or None,
        "graphics": {"listen": channels.graphics or None},
    }
