"""Git over ssh, by the user's own OpenSSH: keys, agent, known hosts and configuration are theirs.

Nobody is asked anything: what would be a question at a terminal is an error. dulwich's own way to
run ssh is not used: it knows no deadline, leaves what ssh says unread until that blocks, and takes
GIT_SSH_COMMAND for a list of words where Git has it for a line of shell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NoReturn, TypeVar

from dulwich.client import FetchPackResult, LsRemoteResult, SendPackResult, TraditionalGitClient
from dulwich.protocol import Protocol

from agent.gitrepo.client import Client, Limits
from agent.gitrepo.pipes import Ended, Program, TooMuch, TooSlow
from agent.gitrepo.repository import RepositoryError
from agent.gitrepo.ssh_address import SSH, parse

_OWN_ERROR = 255
_NOT_FOUND = 127
READ, WRITE = b"upload-pack", b"receive-pack"

T = TypeVar("T")


class SshClient(Client, TraditionalGitClient):
    def __init__(self, text: str, command: str = SSH, limits: Limits | None = None) -> None:
        """`command` is a line of shell, as Git has it in GIT_SSH_COMMAND."""
        self._at = parse(text)
        super().__init__(quiet=True)
        self._no_pack_from_elsewhere()
        self.address = self._at.shown
        self._command = command
        self._limits = limits or Limits()
        self._service = READ
        self._program: Program | None = None

    def fetch_pack(
        self, path: bytes | str, determine_wants: Any, *arguments: Any, **options: Any
    ) -> FetchPackResult:
        with self._spoken():
            return super().fetch_pack(path, self._then_pack(determine_wants), *arguments, **options)

    def send_pack(
        self, path: bytes, update_refs: Any, *arguments: Any, **options: Any
    ) -> SendPackResult:
        with self._spoken():
            return super().send_pack(path, self._then_pack(update_refs), *arguments, **options)

    def get_refs(self, *arguments: Any, **options: Any) -> LsRemoteResult:
        with self._spoken():
            return super().get_refs(*arguments, **options)

    def fail(
        self, reason: str, message: str, error: BaseException | None = None, *, retry: bool = True
    ) -> NoReturn:
        raise RepositoryError(reason, f"{self.address}: {message}", retry=retry) from error

    def close(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[Protocol, Callable[[], bool], IO[bytes] | None]:
        """What dulwich speaks through. It closes that on some of its ways only, so `_spoken` does
        it.
        """
        self.close()
        self._service = cmd
        reads = protocol_version is None and cmd == READ
        try:
            program = Program(self._arguments(cmd, reads=reads), self._limits.read)
        except OSError as error:
            self.fail("SshMissing", f"ssh cannot be started: {error}: {_INSTALL}", error)
        self._program = program
        limits = self._limits
        program.allow(limits.connect + limits.refs_seconds, limits.refs_bytes)
        return Protocol(program.read, program.write), program.can_read, None

    def _arguments(self, service: bytes, *, reads: bool) -> list[str]:
        """A shell runs the command, as Git has it. A refusal of all questions comes last, since
        ssh's first word on a matter counts, and stands beside a session without a terminal.
        """
        version = "export GIT_PROTOCOL=version=2; " if reads else ""
        script = f'{version}export SSH_ASKPASS_REQUIRE=never; {self._command} "$@"'
        words = ["sh", "-c", script, SSH, "-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL", "-x"]
        if self._at.port is not None:
            words += ["-p", str(self._at.port)]
        words.append(f"{self._at.user}@{self._at.host}" if self._at.user else self._at.host)
        return [*words, f"git-{service.decode()} {_quoted(self._at.path)}"]

    def _then_pack(self, told: Callable[..., T]) -> Callable[..., T]:
        """What is told of the refs. When it is, they have come: what follows is larger."""

        def refs(*arguments: Any) -> T:
            if self._program is not None:
                self._program.allow(self._limits.pack_seconds, self._limits.pack_bytes)
            return told(*arguments)

        return refs

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """One exchange with the server. Of one that went wrong nothing is waited for."""
        try:
            yield
            self.close()
        except TooSlow as error:
            self.fail("Unreachable", "no answer in time: check the network and the server", error)
        except TooMuch as error:
            message = "the answer is larger than gitvirt accepts: use a smaller repository"
            self.fail("TooLarge", message, error)
        except Ended as error:
            reason, message = explained(error, self._at.host, self._service)
            self.fail(reason, message, error)
        finally:
            if self._program is not None:
                self._program.kill()
                self._program = None


def _quoted(path: str) -> str:
    """For the shell at the server, in the form that Git itself uses: some servers know no other."""
    return "'" + path.replace("'", "'\\''").replace("!", "'\\!'") + "'"


_INSTALL = "install OpenSSH's client (Debian, Ubuntu: sudo apt install openssh-client)"
_CAUSES: Sequence[tuple[str, str, str]] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "HostKeyChanged",
        (
            "the key of {host} is not the one in known_hosts: somebody may be in between. "
            "Ask who runs the server; if it has a new key, remove the old one with "
            "`ssh-keygen -R {host}` and add the new one as for a new host"
        ),
    ),
    (
        "Host key verification failed",
        "HostKeyUnknown",
        (
            "known_hosts holds no key of {host}, and nobody can be asked: connect once by hand as "
            "this user (`ssh {host}`), comparing the key with what the server's owner publishes"
        ),
    ),
    (
        "Permission denied",
        "AuthenticationFailed",
        (
            "{host} takes none of this user's keys: let it know one, or name one in ~/.ssh/config "
            "or GIT_SSH_COMMAND; a key with a passphrase must be in ssh-agent, for nobody is asked"
        ),
    ),
)
"""What ssh says, our reason, and what to do."""


def explained(end: Ended, host: str, service: bytes) -> tuple[str, str]:
    """Reason and message for what ssh, or git at the server, ended with."""
    told = f" ({_last_line(end.told)})" if end.told else ""
    if end.code == _OWN_ERROR:
        for words, reason, advice in _CAUSES:
            if words in end.told:
                return reason, advice.format(host=host) + told
        return "Unreachable", f"ssh could not connect{told}: check address, network and server"
    if end.code == _NOT_FOUND:
        return "SshMissing", f"ssh here, or git at the server, is missing{told}: {_INSTALL}"
    if service == WRITE:
        return "AccessDenied", (
            f"the server lets nobody push with this key{told}: give it access to push to the "
            "status branch"
        )
    return "RepositoryNotFound", (
        f"there is no such repository, or this key may not read it{told}: correct --repo or give "
        "the key access"
    )


def _last_line(told: str) -> str:
    """The line that says most: a `fatal:` or `ERROR:` one, else the last."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    saying = [line for line in lines if line.startswith(("fatal:", "ERROR:"))]
    return [*lines[-1:], *saying][-1][:300]
