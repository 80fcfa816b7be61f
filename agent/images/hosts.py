"""Which hosts images may come from. Manifests are untrusted: what they name is fetched from where
the agent runs, which may reach more than their authors do.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self

from agent.images.errors import ImageError

MOST_ADDRESSES = 4
"""Of one name, that are tried one after the other."""
_NAME = re.compile(r"[a-z0-9*]([-a-z0-9_.*]*[a-z0-9*])?")
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        *("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "::1/128", "fe80::/10", "::/128"),
        *("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32"),
    )
)
"""Loopback and link-local addresses, what the system takes for its own host, and where clouds have
their metadata elsewhere: services that trust whoever reaches them.
"""
_CARRIERS = tuple(
    IPv6Network(network)
    for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""Networks of IPv6 whose addresses end with the one of IPv4 that they lead to (RFC 4291, 2765,
6052, 8215).
"""


class UnknownHostError(Exception):
    """A name that is not known, at least for now."""


@dataclass(frozen=True)
class ImageHosts:
    """Names of hosts with `*` for any part, and addresses. A connection is made to an address that
    is listed, or to an ordinary one under a name that is listed; what a name is worth does not
    make a special address an ordinary one, for its owner may have it point anywhere.
    """

    names: tuple[str, ...] = ("*",)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Patterns, with commas or spaces between them. ValueError begins with "must"."""
        names, networks = [], []
        for pattern in text.lower().replace(",", " ").split():
            try:
                networks.append(ip_network(pattern.strip("[]"), strict=False))
            except ValueError:
                if not _NAME.fullmatch(pattern):
                    raise ValueError(
                        "must be names of hosts with * for any part of them, addresses and "
                        f"networks, such as *.example.com,10.0.0.0/8, not {pattern!r}"
                    ) from None
                names.append(pattern)
        return cls(tuple(names), tuple(networks))

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to. ImageError if it has none of these."""
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnknownHostError(f"the host {host} is not known") from error
        every = list(dict.fromkeys(str(at[0]) for *_, at in answers))
        allowed = [address for address in every if self._allows(host, address)]
        if not allowed:
            where = "" if host in every else f" (at {', '.join(every[:MOST_ADDRESSES])})"
            raise refused(f"{host}{where}", retry=bool(where))
        return allowed[:MOST_ADDRESSES]

    def check_unresolved(self, host: str) -> None:
        """Judge a host that a proxy asks for. The proxy alone sees where a name leads: that it is
        nowhere special is then the proxy's business.
        """
        address = _literal(host)
        local = host.lower().rstrip(".").rpartition(".")[2] == "localhost"
        named = self._named(host) and not local
        if not (self._allows(host, address) if address else named):
            raise refused(host, retry=False)

    def _allows(self, host: str, address: str) -> bool:
        every = _meant(ip_address(address))
        if any(at in network for network in self.networks for at in every):
            return True
        return self._named(host) and not any(at in network for network in _SPECIAL for at in every)

    def _named(self, host: str) -> bool:
        return any(fnmatchcase(host.lower().rstrip("."), name) for name in self.names)


def _meant(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """An address, and the one of IPv4 that it carries, if any: the way there may lead to that."""
    if isinstance(address, IPv4Address):
        return (address,)
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and any(address in network for network in _CARRIERS):
        inside = IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,) if inside is None else (address, inside)


def _literal(host: str) -> str:
    """The address that a host is, in any of the forms that resolvers take (127.1); empty for a
    name.
    """
    host = host.rstrip(".")
    for read in (ip_address, lambda text: socket.inet_ntoa(socket.inet_aton(text))):
        try:
            return str(read(host))
        except (ValueError, OSError):
            continue
    return ""


def refused(what: str, *, retry: bool) -> ImageError:
    return ImageError(
        "HostNotAllowed",
        f"no image is fetched from {what}: whoever runs the agent allows hosts, and loopback,"
        f" link-local and metadata addresses, with --image-hosts",
        retry=retry,
    )
