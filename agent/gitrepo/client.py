"""What a transport is to `RemoteRepository`: dulwich's client of one address, with limits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NoReturn

from dulwich.client import GitClient
from dulwich.protocol import CAPABILITY_PACKFILE_URIS
from dulwich.refs import Ref

_FETCH, _FILTER = b"fetch=", b"filter"


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes that a server may use up before it counts as unreachable or broken."""

    connect: float = 10.0
    read: float = 30.0
    """Silence that is borne while an answer is expected."""
    refs_seconds: float = 60.0
    refs_bytes: int = 32 * 1024**2
    pack_seconds: float = 1800.0
    pack_bytes: int = 2 * 1024**3


class Client(GitClient):
    """One repository on a server, which knows its own path: that of every call is empty.

    What the server or the network does wrong is RepositoryError, whose text holds no secret; where
    an answer cannot be read, dulwich's own errors say so. Large blobs stay at a server that can
    leave them out.
    """

    address: str
    """The repository's address without credentials, for logs."""
    filters = False
    """True if the server left large blobs out where it was asked to."""

    @abstractmethod
    def fail(
        self, reason: str, message: str, error: BaseException | None = None, *, retry: bool = True
    ) -> NoReturn:
        """Raise RepositoryError."""

    def _no_pack_from_elsewhere(self) -> None:
        """A server could otherwise have us download whatever address it names."""
        self._fetch_capabilities.discard(CAPABILITY_PACKFILE_URIS)

    def _negotiate_upload_pack_capabilities(
        self, server_capabilities: set[bytes]
    ) -> tuple[set[bytes], dict[Ref, Ref], bytes | None]:
        """Have a filter sent only to a server that knows filters: dulwich takes any feature of the
        command for it.
        """
        common, symrefs, agent = super()._negotiate_upload_pack_capabilities(server_capabilities)
        features = [capability for capability in common if capability.startswith(_FETCH)]
        self.filters = any(_FILTER in feature[len(_FETCH) :].split() for feature in features)
        return (common if self.filters else common.difference(features)), symrefs, agent

    @staticmethod
    def _warn_filter_objects() -> None:
        """What comes unfiltered is looked at before it is taken in."""
