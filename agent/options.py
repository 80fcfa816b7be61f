"""The settings one by one: what each is called, what it says, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core import quantity
from agent.core.human import duration, shown
from agent.gitrepo.refs import is_pattern
from agent.images.hosts import ImageHosts

PREFIX = "GITVIRT_"
LOG_FORMATS = ("auto", "text", "json")

_FLEET = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"(?i)[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_BRANCH = re.compile(
    r"(?![-/.])(?!.*(//|\.\.|@\{|\.lock(/|$)))[^\s~^:?*\[\\\x00-\x1f\x7f]+(?<![/.])"
)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: `--name`, `GITVIRT_NAME`, `name:` in a file. `parse` raises ValueError with a
    sentence that begins with "must".
    """

    name: str
    metavar: str
    help: str
    parse: Callable[[str], Any] = str
    short: str = ""
    secret: bool = False
    """True for what must not be on a command line, where everybody can see it."""

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return PREFIX + self.field.upper()


def _positive(text: str) -> float:
    seconds = duration(text)
    if not seconds:
        raise ValueError("must be more than 0, such as 30s")
    return seconds


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {what}, not {shown(text)}")
        return text

    return parse


def _folder_in_repository(text: str) -> str:
    """The folder without `./` and closing slashes; `.` for all of the repository."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts:
        raise ValueError(f"must be a folder inside the repository, not {shown(text)}")
    return "/".join(parts) or "."


def _bytes(text: str) -> int:
    size = quantity.meant(text, "disk")
    if size:
        raise ValueError(f"must be a size (did you mean {size}?), not {shown(text)}")
    try:
        return quantity.to_bytes(text)
    except ValueError as error:
        raise ValueError(f"{error}, not {shown(text)}") from error


def _factor(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,2})?", text) or not 0.5 <= float(text) <= 10:
        raise ValueError(f"must be a factor from 0.5 to 10, such as 1.5, not {shown(text)}")
    return float(text)


def _forge_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>]+", text) or "{path}" not in text:
        raise ValueError(
            "must be a web address with {path}, and maybe {commit} and {line}, in it, such as "
            f"https://git.example.com/vms/src/{{commit}}/{{path}}#L{{line}}, not {shown(text)}"
        )
    return text


def _log_format(text: str) -> str:
    if text not in LOG_FORMATS:
        raise ValueError(f"must be one of {', '.join(LOG_FORMATS)}, not {shown(text)}")
    return text


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"must be a path, not {shown(text)}: {error}") from error


def _names(text: str) -> tuple[str, ...]:
    """Of a host, with commas or spaces between them."""
    names = tuple(text.replace(",", " ").split())
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"must be names such as vms.example.com, not {shown(name)}")
    return names


def _refs(text: str) -> tuple[str, ...]:
    """Patterns, with commas or spaces between them."""
    patterns = tuple(text.replace(",", " ").split())
    for pattern in patterns:
        if not is_pattern(pattern):
            raise ValueError(
                "must be full names of refs with * for a part of them, such as refs/pull/*/head, "
                f"and neither branches nor tags, not {shown(pattern)}"
            )
    return patterns


_branch = _matching(_BRANCH, "a branch's name, such as main")

OPTIONS = (
    Option(
        "repo",
        "URL",
        "the repository: https://…, ssh://…, host:path, or a folder (default: of the clone one "
        "stands in)",
    ),
    Option("branch", "NAME", "the branch that says what is wanted (default: main)", _branch),
    Option(
        "path",
        "FOLDER",
        "the folder in it that holds the manifests (default: .)",
        _folder_in_repository,
    ),
    Option(
        "namespace",
        "NAME",
        "the namespace that names without one mean (default: default)",
        _matching(_NAMESPACE, "a namespace of lower-case letters, digits and '-'"),
        short="n",
    ),
    Option("connect", "URI", "libvirt's connection URI (default: as virsh chooses)"),
    Option(
        "fleet",
        "NAME",
        "whose virtual machines these are (default: default)",
        _matching(_FLEET, "at most 20 lower-case letters, digits and '-', the ends no '-'"),
    ),
    Option("data-dir", "DIR", "where caches and unfinished downloads lie", _path),
    Option(
        "interval",
        "TIME",
        "how often a remote repository is asked for news (default: 30s)",
        _positive,
    ),
    Option("status-branch", "NAME", "the branch for the status (default: status)", _branch),
    Option(
        "status-interval",
        "TIME",
        "the least time between two pushes of it (default: 10s)",
        duration,
    ),
    Option("operations-branch", "NAME", "the branch for operations (default: operations)", _branch),
    Option(
        "plan-refs",
        "REFS",
        "refs to plan beside branches, such as refs/pull/*/head,refs/merge-requests/*/head",
        _refs,
    ),
    Option("username", "NAME", "the user at a remote repository"),
    Option("password", "TEXT", "the password or token at a remote repository", secret=True),
    Option(
        "credentials-file",
        "FILE",
        "a file with a token, or lines https://USER:PASSWORD@HOST",
        _path,
    ),
    Option(
        "ssh-command",
        "COMMAND",
        "ssh for a repository behind it (default: GIT_SSH_COMMAND, else git's core.sshCommand)",
    ),
    Option("timeout", "TIME", "how long to wait at most", _positive, short="t"),
    Option("log-format", "FORMAT", "auto, text or json (default: auto)", _log_format),
    Option(
        "listen",
        "ADDRESS",
        "where `run` serves the page and metrics, such as 127.0.0.1:8006 (default: nowhere), and "
        "`dashboard` (default: 127.0.0.1:8006)",
    ),
    Option("tls-cert", "FILE", "the certificate of the page's server, with its chain", _path),
    Option("tls-key", "FILE", "its key", _path),
    Option(
        "token-file",
        "FILE",
        "the token that opens consoles and buttons of the page (default: a new one at each start)",
        _path,
    ),
    Option(
        "page-names",
        "NAMES",
        "by which browsers reach the page's server, beside its addresses and localhost",
        _names,
    ),
    Option(
        "forge-url",
        "URL",
        "where a file can be read in a browser: https://…/{commit}/{path}#L{line}",
        _forge_url,
    ),
    Option(
        "trash-retention",
        "TIME",
        "how long a deleted disk's data can come back (default: 7d)",
        duration,
    ),
    Option(
        "memory-overcommit",
        "FACTOR",
        "how often a node's memory is given away (default: 1.0; of the only node nobody counts it)",
        _factor,
    ),
    Option("image-limit", "SIZE", "the largest image that is downloaded (default: 100Gi)", _bytes),
    Option(
        "image-hosts",
        "HOSTS",
        "where images may come from: names with * for any part, addresses and networks "
        "(default: *, and loopback, link-local and metadata addresses only where they are listed)",
        ImageHosts.parse,
    ),
)
