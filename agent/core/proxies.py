"""HTTP proxies, as curl and Git take them from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Proxies:
    """Addresses of proxies by the scheme of what is asked for; they may hold credentials. `none`
    names what is asked directly: domains with all below them, addresses, networks, `*` for all.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    none: tuple[str, ...] = ()

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """From `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in capitals too: all but
        the first, which a web server may have set for its programs.
        """

        def value(name: str) -> str:
            return variables.get(name, "") or variables.get(name.upper(), "")

        every = value("all_proxy")
        none = value("no_proxy").lower().replace(",", " ").split()
        return cls(
            _address(variables.get("http_proxy", "") or every),
            _address(value("https_proxy") or every),
            tuple(name.lstrip(".") for name in none),
        )

    def proxy(self, scheme: str, host: str) -> str:
        """The proxy to ask; empty for none. `host` is without port and brackets."""
        proxy = {"http": self.http, "https": self.https}.get(scheme, "")
        return "" if not proxy or any(_names(name, host.lower()) for name in self.none) else proxy


def _address(proxy: str) -> str:
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _names(pattern: str, host: str) -> bool:
    if pattern == "*" or host == pattern or host.endswith(f".{pattern}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
