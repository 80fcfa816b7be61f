"""Which hosts images may come from. Manifests are untrusted: what they name is fetched from where
the agent runs, which may reach more than their authors do.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from agent.images.errors import ImageError

MOST_ADDRESSES = 4
"""Of one name, that are tried one after the other."""
_NAME = re.compile(r"[a-z0-9*]([-a-z0-9_.*]*[a-z0-9*])?")
_SPECIAL = tuple(
    ip_network(each)
    for each in ("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "::1/128", "fe80::/10", "::/128")
)
"""Loopback and link-local addresses, and what the system takes for its own host: services that
trust whoever reaches them, such as a cloud's metadata.
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
        for each in text.lower().replace(",", " ").split():
            try:
                networks.append(ip_network(each.strip("[]"), strict=False))
            except ValueError:
                if not _NAME.fullmatch(each):
                    raise ValueError(
                        "must be names of hosts with * for any part of them, addresses and "
                        f"networks, such as *.example.com,10.0.0.0/8, not {each!r}"
                    ) from None
                names.append(each)
        return cls(tuple(names), tuple(networks))

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to. ImageError if it has none of these."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnknownHostError(f"the host {host} is not known") from error
        every = list(dict.fromkeys(str(at[0]) for *_, at in found))
        allowed = [each for each in every if self._allows(host, each)]
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
        at = ip_address(address)
        if isinstance(at, IPv6Address) and at.ipv4_mapped is not None:
            at = at.ipv4_mapped
        if any(at in network for network in self.networks):
            return True
        return self._named(host) and not any(at in network for network in _SPECIAL)

    def _named(self, host: str) -> bool:
        return any(fnmatchcase(host.lower().rstrip("."), name) for name in self.names)


def _literal(host: str) -> str:
    """The address that a host is, in any of the forms that resolvers take (127.1); empty for a
    name.
    """
    for read in (ip_address, lambda text: socket.inet_ntoa(socket.inet_aton(text))):
        try:
            return str(read(host))
        except (ValueError, OSError):
            continue
    return ""


def refused(what: str, *, retry: bool) -> ImageError:
    return ImageError(
        "HostNotAllowed",
        f"no image is fetched from {what}: whoever runs the agent allows hosts, and loopback and"
        f" link-local addresses, with --image-hosts",
        retry=retry,
    )
