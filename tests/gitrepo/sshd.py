"""A real sshd on loopback, run by this user with keys and a configuration of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_PACKAGES = ("openssh-server", "libwrap0", "libnss-wrapper")
_ACCOUNT = "{0}:x:{1}:{2}::{3}:/bin/sh\n"
_OF_ROOT = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"'
"""Where root runs sshd, that wants a folder of its own there."""


def unpacked() -> Path:
    """Debian's packages, not installed: nothing of theirs is started or added to the system."""
    cache = Path(os.environ.get("GITVIRT_CACHE") or Path.home() / ".cache/gitvirt")
    there = cache / "sshd"
    if not there.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _run(["apt-get", "-q", "download", *_PACKAGES], folder)
            for package in Path(folder).glob("*.deb"):
                _run(["dpkg-deb", "-x", package.name, "root"], folder)
            try:
                (Path(folder) / "root").rename(there)
            except OSError:
                assert there.exists()  # another run was faster
    return there


def _run(arguments: list[str], folder: str | Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_key(path: Path, *, passphrase: str = "") -> Path:
    arguments = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f"]
    _run([*arguments, str(path)], path.parent)
    return path


class SshServer:
    """Lets in who has the key `folder/key`. `command` is how to reach it, `host` its alias;
    `variables` are those of its shells.
    """

    host = "git-host"

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._variables = variables or {}
        folder.mkdir()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        make_key(folder / "host")
        make_key(folder / "key")
        shutil.copy(folder / "key.pub", folder / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.known = folder / "known_hosts"
        self.know(folder / "host.pub")
        self.config = folder / "config"
        self.config.write_text(
            f"Host {self.host}\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f'Host *\n  User {self.user}\n  IdentityFile "{folder / "key"}"\n'
            f"  IdentitiesOnly yes\n  IdentityAgent none\n  HostKeyAlias {self.host}\n"
            f'  UserKnownHostsFile "{self.known}"\n  GlobalKnownHostsFile /dev/null\n'
        )
        self.command = f"ssh -F '{self.config}'"
        self._shared = tempfile.mkdtemp(prefix="gv")  # the path of a socket must be short
        self.quick = f"{self.command} -o ControlMaster=auto -o ControlPath={self._shared}/%p"
        self.quick += " -o ControlPersist=60"
        """The same by one connection for all."""
        self._process: subprocess.Popen[str] | None = None

    def know(self, key: Path) -> None:
        """What the client's known_hosts holds."""
        self.known.write_text(f"{self.host} {key.read_text()}")

    def url(self, path: Path) -> str:
        return f"ssh://127.0.0.1:{self.port}{path}"

    def scp(self, path: Path) -> str:
        return f"{self.user}@{self.host}:{path}"

    def _configuration(self, root: Path) -> list[str]:
        helpers = {
            "SshdSessionPath": root / "usr/lib/openssh/sshd-session",
            "SshdAuthPath": root / "usr/lib/openssh/sshd-auth",
        }
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "authorized",
            "PidFile": "none",
            "AuthenticationMethods": "publickey",
            "StrictModes": "no",
            "UsePAM": "no",
            "AcceptEnv": "GIT_PROTOCOL",
            "MaxStartups": "100",
            **(
                {"SetEnv": " ".join(map("=".join, self._variables.items()))}
                if self._variables
                else {}
            ),
            **{name: path for name, path in helpers.items() if path.exists()},
        }
        file = self.folder / "sshd_config"
        quoted = {"AuthorizedKeysFile", "HostKey"}
        lines = (
            f'{name} "{at}"' if name in quoted else f"{name} {at}" for name, at in settings.items()
        )
        file.write_text("\n".join(lines) + "\n")
        return [str(root / "usr/sbin/sshd"), "-D", "-e", "-f", str(file)]

    def _environment(self, root: Path) -> dict[str, str]:
        """In which this user has a shell, whatever the system says of the account."""
        accounts, groups = self.folder / "passwd", self.folder / "group"
        me, group = os.geteuid(), os.getegid()
        accounts.write_text(
            _ACCOUNT.format(self.user, me, group, self.folder)
            + _ACCOUNT.format("sshd", 65533, 65533, "/run/sshd")
        )
        groups.write_text(f"{self.user}:x:{group}:\n")
        libraries = sorted(root.glob("**/lib*.so*"))
        return {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": ":".join({str(each.parent) for each in libraries}),
            "LD_PRELOAD": "libnss_wrapper.so",
            "NSS_WRAPPER_PASSWD": str(accounts),
            "NSS_WRAPPER_GROUP": str(groups),
        }

    def __enter__(self) -> Self:
        root = unpacked()
        words = self._configuration(root)
        if os.geteuid() == 0:
            words = ["unshare", "--mount", "sh", "-c", _OF_ROOT, "sh", *words]
        self._process = subprocess.Popen(
            words, env=self._environment(root), stderr=subprocess.PIPE, text=True
        )
        said = []
        for line in self._process.stderr or ():
            said.append(line)
            if "Server listening" in line:
                return self
        raise AssertionError("".join(said))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(["sh", "-c", f"{self.quick} -O exit {self.host}"], capture_output=True)
        shutil.rmtree(self._shared)
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
