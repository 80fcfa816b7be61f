"""What the agent can do to a host's networks: verbs as those of `agent.core.actions`."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.actions import Action
from agent.core.network import Held, NatNetwork


@dataclass(frozen=True)
class MakeNetwork(Action):
    """Have a definition of the agent's own network. Nothing is taken from one that is there."""

    network: NatNetwork

    @property
    def about(self) -> str:
        return self.network.name


@dataclass(frozen=True)
class StartNetwork(Action):
    """Start a network. One that runs is started anew if it is defined with more subnets than it
    serves, and only while nobody uses it.
    """

    network: str

    @property
    def about(self) -> str:
        return self.network


@dataclass(frozen=True)
class HoldAddress(Action):
    """Have a network's DHCP give a machine its address. Not done where that is held for somebody
    else.
    """

    held: Held

    @property
    def about(self) -> str:
        return f"{self.held.network}/{self.held.address}"


@dataclass(frozen=True)
class ReleaseAddress(Action):
    """Have a network's DHCP not give just this any more."""

    held: Held

    @property
    def about(self) -> str:
        return f"{self.held.network}/{self.held.address}"
