"""Settings, from flags, the environment and configuration files: the only reader of the latter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.documents import Document
from agent.core.links import Link
from agent.core.migrating import Manner
from agent.core.model import Json
from agent.core.parsing import parse
from agent.core.proxies import Proxies
from agent.core.spelling import nearest
from agent.images.hosts import ImageHosts
from agent.options import OPTIONS, PREFIX, Option
from agent.places import PLACES, NodeSettings, PlaceError, PoolSettings

SYSTEM_FILE = Path("/etc/gitvirt/config.yaml")
ROOT_DATA = Path("/var/lib/gitvirt")


class SettingsError(ValueError):
    """A setting does not hold. The message says where it was given, and what is allowed."""


_BY_NAME = {option.name: option for option in OPTIONS}


@dataclass(frozen=True)
class Settings:
    """Times are in seconds, sizes in bytes. Empty texts and None mean: not set."""

    data_dir: Path
    repo: str = ""
    branch: str = "main"
    path: str = "."
    namespace: str = "default"
    connect: str = ""
    nodes: Mapping[str, NodeSettings] = field(default_factory=dict)
    """By name, in their order; empty for the one host of `connect`."""
    pools: Mapping[str, PoolSettings] = field(default_factory=dict)
    networks: Mapping[str, Link] = field(default_factory=dict)
    migration: Manner = field(default_factory=Manner)
    fleet: str = "default"
    interval: float = 30.0
    status_branch: str = "status"
    status_interval: float = 10.0
    operations_branch: str = "operations"
    username: str = ""
    password: str = field(default="", repr=False)
    credentials_file: Path | None = None
    ssh_command: str = ""
    timeout: float | None = None
    log_format: str = "auto"
    image_limit: int = 100 * 1024**3
    memory_overcommit: float | None = None
    trash_retention: float = 7 * 86400.0
    listen: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    page_names: tuple[str, ...] = ()
    forge_url: str = ""
    plan_refs: tuple[str, ...] = ()
    image_hosts: ImageHosts = field(default_factory=ImageHosts)
    proxies: Proxies = field(default_factory=Proxies)

    @property
    def folder(self) -> str:
        """`path` as trees are asked for it: empty for all of the repository."""
        return "" if self.path == "." else self.path

    @property
    def status_ref(self) -> str:
        return f"refs/heads/{self.status_branch}"

    @property
    def operations_ref(self) -> str:
        return f"refs/heads/{self.operations_branch}"


def load(
    flags: Mapping[str, str],
    *,
    config: str = "",
    environment: Mapping[str, str] | None = None,
    system_file: Path = SYSTEM_FILE,
    root: bool | None = None,
) -> Settings:
    """Flags win over the environment, that over the user's file, that over the system's.

    `flags` are by the option's name. With `config` (a path), or GITVIRT_CONFIG, that file is read
    instead of the two others. Raises SettingsError.
    """
    variables = os.environ if environment is None else environment
    named = config or variables.get(f"{PREFIX}CONFIG", "")
    values: dict[str, Any] = {}
    if named:
        values.update(_file(Path(named).expanduser(), must_be_there=True))
    else:
        values.update(_file(system_file))
        user_file = _home(variables, "XDG_CONFIG_HOME", ".config")
        values.update(_file(user_file / "gitvirt/config.yaml") if user_file else {})
    for option in OPTIONS:
        if variables.get(option.variable):
            values[option.field] = _parsed(option, variables[option.variable], option.variable)
        if option.name in flags:
            values[option.field] = _parsed(option, flags[option.name], f"--{option.name}")
    values.setdefault("ssh_command", variables.get("GIT_SSH_COMMAND", ""))
    if "data_dir" not in values:
        values["data_dir"] = _data_dir(variables, os.geteuid() == 0 if root is None else root)
    settings = Settings(**values, proxies=Proxies.of(variables))
    if len({settings.branch, settings.status_branch, settings.operations_branch}) < 3:
        raise SettingsError("branch, status-branch and operations-branch must be three branches")
    if settings.connect and settings.nodes:
        raise SettingsError("connect and nodes both say where the hosts are: keep one of them")
    return settings


def own_environment() -> Mapping[str, str]:
    """The environment of this process, for what looks for a program of this user's."""
    return os.environ


def user_folders(environment: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The folders in which libvirt keeps what belongs to a user's session, by the variable that
    moves them.
    """
    variables = os.environ if environment is None else environment
    runtime = variables.get("XDG_RUNTIME_DIR", "")
    folders = {
        "XDG_CONFIG_HOME": _home(variables, "XDG_CONFIG_HOME", ".config"),
        "XDG_CACHE_HOME": _home(variables, "XDG_CACHE_HOME", ".cache"),
        "XDG_DATA_HOME": _home(variables, "XDG_DATA_HOME", ".local/share"),
        "XDG_RUNTIME_DIR": Path(runtime) if runtime else None,
    }
    return {name: path for name, path in folders.items() if path is not None}


def data_home() -> Path | None:
    """Where libvirt keeps the data of a user's session here; None where no home is known."""
    return user_folders().get("XDG_DATA_HOME")


def _data_dir(variables: Mapping[str, str], root: bool) -> Path:
    if root:
        return ROOT_DATA
    state = _home(variables, "XDG_STATE_HOME", ".local/state")
    if state is None:
        raise SettingsError("no home folder is known: set HOME, or give --data-dir")
    return state / "gitvirt"


def _home(variables: Mapping[str, str], name: str, default: str) -> Path | None:
    """A folder of the XDG base directories; the default where the variable is not absolute."""
    given = variables.get(name, "")
    if given.startswith("/"):
        return Path(given)
    home = variables.get("HOME", "")
    return Path(home) / default if home else None


def _file(path: Path, *, must_be_there: bool = False) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_be_there:
            raise SettingsError(f"{path}: there is no such configuration file") from error
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    parsed = parse(data)
    problems = list(parsed.errors)
    for document in parsed.documents:
        for where, said in document.problems:
            problems.append((document.line_of(where), f"{'.'.join(map(str, where))} {said}"))
    for line, message in problems:
        raise SettingsError(f"{path}:{line}: {message}")
    if not parsed.documents:
        return {}
    document = parsed.documents[0]
    if len(parsed.documents) > 1 or not isinstance(document.value, dict):
        raise SettingsError(f"{path}: must be one mapping of settings, such as `branch: main`")
    return dict(_line(key, value, path, document) for key, value in document.value.items())


def _line(key: str, value: Json, path: Path, document: Document) -> tuple[str, Any]:
    """One line of a file: the field of the settings, and what it is to be."""
    where = f"{path}:{document.line_of((key,))}: {key}"
    if key in PLACES:
        try:
            return key, PLACES[key](value)
        except PlaceError as error:
            where = f"{path}:{document.line_of((key, *error.path))}"
            raise SettingsError(f"{where}: {'.'.join((key, *error.path))} {error}") from error
    option = _BY_NAME.get(key.replace("_", "-"))
    if option is None:
        known = (*_BY_NAME, *PLACES)
        meant = nearest(key, known)
        hint = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}"
        raise SettingsError(f"{where} is no setting: {hint}")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise SettingsError(f"{where} must be text or a number")
    return option.field, _parsed(option, str(value), where)


def _parsed(option: Option, text: str, where: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise SettingsError(f"{where} {error}") from error
