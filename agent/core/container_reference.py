"""References of container images, and which credentials of a Docker configuration are for them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from agent.core.model import Json

DOCKER_HUB = "docker.io"
_HUB_HOSTS = frozenset((DOCKER_HUB, "index.docker.io", "registry-1.docker.io"))
_LATEST = "latest"
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")


class ConfigurationError(ValueError):
    """A Docker configuration has nothing that could be used. The text says why, and nothing of what
    it holds.
    """


@dataclass(frozen=True)
class Reference:
    """`registry` is a host with a port or without; `digest` is empty if the tag alone says what is
    meant.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """What a reference means, with what Docker leaves out of those of its own hub. ValueError
        begins with "must".
        """
        name, _, digest = text.partition("@")
        if digest and not _DIGEST.fullmatch(digest):
            raise ValueError("must give its digest as sha256: or sha512: and lower-case hex")
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:  # it is the port's
            path, tag = name, ""
        first, slash, rest = path.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, repository = first, rest
        else:
            registry, repository = DOCKER_HUB, path
        if registry in _HUB_HOSTS:
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, tag if tag or digest else _LATEST, digest)

    @property
    def host(self) -> str:
        """Where the registry is asked."""
        return "registry-1.docker.io" if self.registry == DOCKER_HUB else self.registry

    @property
    def wanted(self) -> str:
        """What is asked for: a digest means just one thing, a tag what it means now."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> str:
        """The reference that means the manifest of that digest for ever."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}@{digest}"


def credentials(configuration: bytes, reference: Reference) -> tuple[str, str]:
    """User and password that a Docker configuration (`.dockerconfigjson`, or the older
    `.dockercfg`) has for an image: of several entries the one that names most of it. Raises
    ConfigurationError.
    """
    try:
        parsed = json.loads(configuration)
    except (ValueError, RecursionError):
        raise ConfigurationError("is no JSON") from None
    entries = parsed.get("auths", parsed) if isinstance(parsed, dict) else None
    if not isinstance(entries, dict):
        raise ConfigurationError("is no Docker configuration: it has no auths")
    fitting = [name for name in entries if _fits(name, reference)]
    if not fitting:
        raise ConfigurationError(f"has no entry for {reference.registry}")
    return _pair(entries[max(fitting, key=lambda name: (len(_parts(name)[1]), name))])


def _pair(entry: Json) -> tuple[str, str]:
    if not isinstance(entry, Mapping):
        raise ConfigurationError("has an entry for the registry that is no mapping")
    if entry.get("identitytoken") or entry.get("registrytoken"):
        raise ConfigurationError(
            "has a token for the registry where a user and a password, or an access token as "
            "password, are needed"
        )
    given = [entry.get("username", ""), entry.get("password", "")]
    if entry.get("auth"):
        try:
            user, colon, password = b64decode(entry["auth"], validate=True).decode().partition(":")
        except (ValueError, TypeError):
            raise ConfigurationError("has an auth for the registry that is no base64") from None
        given = [user, password.rstrip("\0")] if colon else given
    if not all(isinstance(text, str) and text for text in given):
        raise ConfigurationError("has neither user and password nor auth for the registry")
    return given[0], given[1]


def _parts(entry: str) -> tuple[str, str]:
    """Host and path of an entry's name, which may be an address of the registry's."""
    scheme, mark, rest = entry.partition("://")
    host, _, path = (rest if mark else scheme).partition("/")
    path = path.strip("/")
    return host, "" if path in ("v1", "v2") else path


def _fits(entry: str, reference: Reference) -> bool:
    """As the kubelet matches: `*` stands for anything within one part of the host's name."""
    host, path = _parts(entry)
    if host in _HUB_HOSTS:
        host = DOCKER_HUB
    within = f"{reference.repository}/".startswith(f"{path}/") if path else True
    ours, theirs = list(_labels(reference.registry)), list(_labels(host))
    alike = len(ours) == len(theirs) and all(map(fnmatchcase, ours, theirs))
    return within and alike


def _labels(host: str) -> Iterator[str]:
    name, colon, port = host.lower().partition(":")
    yield port if colon else ""
    yield from name.split(".")
