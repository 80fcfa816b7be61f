"""Where a host is, seen from here: on this machine, behind ssh, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_SSH = ("ssh", "libssh", "libssh2")


@dataclass(frozen=True)
class Place:
    """What libvirt's own URI of a connection tells."""

    local: bool
    scheme: str
    ssh: tuple[str, ...] = ()
    """The start of an ssh command that logs in on the host, options only; empty without ssh."""
    host: str = ""

    def command(self, options: Sequence[str]) -> list[str]:
        """Ssh to the host with more options. Its name can be none, whatever it is."""
        return [*self.ssh, *options, "--", self.host]


def place(uri: str) -> Place:
    """The settings' URI is trusted with the program that it names, as libvirt trusts it."""
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    if not parts.hostname:
        return Place(local=True, scheme=parts.scheme)
    if transport not in _SSH:
        return Place(local=False, scheme=parts.scheme, host=parts.hostname)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    words = [given.get("command") or "ssh", "-T", "-o", "ForwardX11=no"]
    if parts.port:
        words += ["-p", str(parts.port)]
    if parts.username:
        words += ["-o", f"User={unquote(parts.username)}"]
    if given.get("keyfile"):
        words += ["-i", given["keyfile"]]
    if given.get("no_verify") == "1":
        words += ["-o", "StrictHostKeyChecking=no"]
    return Place(local=False, scheme=parts.scheme, ssh=tuple(words), host=parts.hostname)


def bracketed(address: str) -> str:
    """An address as ssh has it before a port."""
    return f"[{address}]" if ":" in address else address
