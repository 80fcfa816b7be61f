"""The network Main of machines with a reserved address, on each node."""

from agent.kinds.uplink.choice import DEFAULT, NOWHERE, Uplink, Way, gateway, uplink

__all__ = ["DEFAULT", "NOWHERE", "Uplink", "Way", "gateway", "uplink"]
