"""`gitvirt doctor`: what this host lacks, and the command that mends it."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from agent.cli import hosts
from agent.cli.between_nodes import between, locks, peers
from agent.cli.command import CommandError, Subparsers
from agent.cli.finding import Finding
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import bridge_helper
from agent.core.host import Host, HostError, RawNode, Reading
from agent.core.identity import POOL
from agent.core.links import MAIN, Link, lacking
from agent.core.schema import Catalogue
from agent.gitrepo.repository import RepositoryError
from agent.settings import Settings, data_home, user_folders

LONGEST_FOLDER = 60
"""libvirt puts sockets below these folders, and a socket's path has at most 107 characters."""
LONGEST_CONFIG = 24
"""Below this one lies the guest agent's socket, in libvirt/qemu/channel/target/domain-ID-NAME."""
NETWORK = "default"
AT_ONCE = 16
"""Hosts that are asked at the same time."""
_INSTALL = ("HostUnreachable", "Timeout", "AccessDenied", "HypervisorError")
"""Reasons that a missing package or service of this machine may have."""
_SYSTEM_SOCKET = Path("/run/libvirt/virtlogd-sock")
_BRIDGE_FIREWALL = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")
"""Where daemons lie that a user's PATH does not name."""


_FIREWALL = Finding(
    "note",
    "network",
    "the firewall also judges what goes from machine to machine over a bridge, and may drop it",
    "sudo sysctl net.bridge.bridge-nf-call-iptables=0, or allow it there",
)


_NO_DHCP = Finding(
    "problem",
    "dnsmasq",
    "it is not installed: networks of libvirt that give addresses by DHCP do not start",
    "sudo apt install dnsmasq-base",
)


@dataclass(frozen=True)
class Surroundings:
    """What of this machine the checks look at."""

    programs: frozenset[str]
    virtlogd_socket: bool
    folders: Mapping[str, Path]
    filters_bridges: bool = False
    """True if the firewall also judges what only goes over a bridge."""
    bridge_rules: str = ""
    """What the system says of the bridges that users' sessions may use."""
    bridge_helper: bool = False
    """True if the program that connects their machines may do so."""


@dataclass(frozen=True)
class Named:
    """What the settings name on each host."""

    pools: frozenset[str] = frozenset({POOL})
    networks: Mapping[str, Link] = field(default_factory=dict)


def add(subparsers: Subparsers) -> None:
    subparsers.add_parser(
        "doctor",
        help="what this host lacks",
        description="Check libvirt, QEMU and the repository, and name the command that mends what "
        "is missing. Exit code 1 if there is a problem.",
        epilog="examples:\n  gitvirt doctor\n  gitvirt doctor --connect qemu:///system\n",
    )


def run(_: argparse.Namespace, settings: Settings) -> int:
    around = surroundings()
    bad = False
    for finding in (*_hosts(settings, around), *_data(settings), *_repository(settings)):
        print(finding, flush=True)
        bad = bad or finding.level == "problem"
    return 1 if bad else 0


def surroundings() -> Surroundings:
    path = os.pathsep.join((*os.get_exec_path(), *_MORE_FOLDERS))
    wanted = ("qemu-img", "virtlogd", "dnsmasq")
    rules, helper = Path(bridge_helper.RULES), Path(bridge_helper.HELPER)
    return Surroundings(
        programs=frozenset(name for name in wanted if shutil.which(name, path=path)),
        virtlogd_socket=_SYSTEM_SOCKET.exists(),
        folders=user_folders(),
        bridge_rules=rules.read_text(errors="replace") if os.access(rules, os.R_OK) else "",
        bridge_helper=helper.exists() and bool(helper.stat().st_mode & stat.S_ISUID),
        filters_bridges=_BRIDGE_FIREWALL.exists() and _BRIDGE_FIREWALL.read_text().strip() == "1",
    )


# -- the host ---------------------------------------------------------------------------------


def _hosts(settings: Settings, around: Surroundings) -> Iterator[Finding]:
    """Each of them, looked at at once: one that does not answer takes its time."""
    wanted = hosts.addresses(settings)
    names = Named(hosts.pools(settings).names, settings.networks)
    bridges = hosts.bridges(settings)
    read: dict[str, Reading] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = pool.map(lambda uri: _seen(uri, names.pools, bridges), wanted.values())
        known: dict[str, str] = {}
        for (name, uri), reading in zip(wanted.items(), seen, strict=True):
            for finding in _host(name, uri, reading, around, names, known):
                named = f"{name}: {finding.subject}" if name else finding.subject
                yield replace(finding, subject=named)
            if isinstance(reading, Reading) and known.get(reading.node.host, name) == name:
                read[name] = reading
    yield from between(read, hosts.pools(settings).shared)
    yield from _peers(settings, read)
    yield from local_findings(around)


def _peers(settings: Settings, read: Iterable[str]) -> Iterator[Finding]:
    """Whether machines can go from each host that can be reached to each."""
    names = [name for name in read if name in settings.nodes]
    if len(names) < 2 or not any(settings.nodes[name].peer for name in names):
        return
    with ExitStack() as stack:
        opened_hosts: dict[str, Host] = {}
        for name in names:
            with suppress(HostError):  # it was told just now
                opened_hosts[name] = stack.enter_context(closing(hosts.opened_one(settings, name)))
        yield from peers(opened_hosts, settings.nodes)


def _seen(uri: str, pools: frozenset[str], bridges: frozenset[str]) -> Reading | HostError:
    from agent.hypervisor.host import LibvirtHost  # loads libvirt, which other commands need not

    try:
        host = LibvirtHost(None, uri or None, data_home=data_home(), bridges=bridges)
        with closing(host):
            return host.read(pools)
    except HostError as error:
        return error


def _host(
    name: str,
    uri: str,
    seen: Reading | HostError,
    around: Surroundings,
    named: Named,
    known: dict[str, str],
) -> Iterator[Finding]:
    """`known` are the hosts looked at so far: their names by UUID."""
    if isinstance(seen, HostError):
        yield Finding("problem", "libvirt", str(seen), _mend_connection(name, uri, seen))
        return
    yield from host_findings(seen, around, named)
    if (other := known.setdefault(seen.node.host, name)) != name and seen.node.host:
        message = f"is the same host as {other} (UUID {seen.node.host})"
        yield Finding("problem", "host", message, "take one of them out of the setting nodes")


def _mend_connection(name: str, uri: str, error: HostError) -> str:
    """A host that libvirt's client cannot find or reach lacks no package of this machine."""
    host = urlsplit(uri).hostname or ""
    setting = f"the setting nodes.{name}.connect" if name else "--connect"
    if host and error.reason == "HostNotFound":
        return f"name a host that this machine can resolve in place of {host} in {setting}"
    if host:
        return (
            f"look on {host} itself: is it up, does libvirtd run there, and may this user connect "
            "to it?"
        )
    if error.reason not in _INSTALL:
        return f"name a URI that libvirt knows with {setting}, such as qemu:///system, not {uri}"
    if "session" in uri:
        return "sudo apt install libvirt-daemon qemu-system"
    return (
        "sudo apt install libvirt-daemon-system qemu-system; "
        "sudo systemctl enable --now libvirtd; sudo usermod -aG libvirt $USER (then log in again)"
    )


def host_findings(
    reading: Reading, around: Surroundings, named: Named = Named()
) -> Iterator[Finding]:
    """What libvirt itself says of its host."""
    node = reading.node
    local = "://" not in node.uri or node.uri.split("://", 1)[1].startswith("/")
    yield Finding("ok", "libvirt", f"{node.libvirt_version} at {node.uri}, node {node.name}")
    yield _emulator(node)
    if node.virt_type == "kvm":
        yield Finding("ok", "virtualization", "in hardware (KVM)")
    else:
        message = "the host has no hardware virtualization: machines run in software, slowly"
        mend = "enable VT-x, AMD-V or nested virtualization below; then: sudo modprobe kvm"
        if node.session:
            mend += "; sudo usermod -aG kvm $USER (then log in again)"
        yield Finding("note", "virtualization", message, mend)
    yield from _networks(reading, named)
    if local:
        yield from _around_networks(node, around, named)
    if POOL in reading.pools:
        yield Finding("ok", "storage", f"pool {POOL} at {reading.pools[POOL]}")
    else:
        yield Finding(
            "note", "storage", f"there is no pool {POOL} yet: the agent makes it at its start"
        )
    for pool in sorted(named.pools - {POOL}):
        if pool in reading.pools:
            yield Finding("ok", "storage", f"pool {pool} at {reading.pools[pool]}")
        else:
            message = f"there is no active pool {pool}, which the setting pools names"
            yield Finding("note", "storage", message, f"virsh -c {node.uri} pool-start {pool}")
    if local:
        yield _virtlogd(node, around)
        yield from _lengths(node, around)


def _emulator(node: RawNode) -> Finding:
    if node.emulator:
        return Finding("ok", "QEMU", f"{node.qemu_version}, {node.emulator}, {node.machine}")
    message = "libvirt knows no QEMU for this machine's own architecture"
    return Finding("problem", "QEMU", message, "sudo apt install qemu-system")


def _networks(reading: Reading, named: Named) -> Iterator[Finding]:
    if MAIN not in named.networks:
        yield _network(reading)
    for name, link in named.networks.items():
        yield _named_network(name, link, reading)


def _around_networks(node: RawNode, around: Surroundings, named: Named) -> Iterator[Finding]:
    if not node.session and "dnsmasq" not in around.programs:
        yield _NO_DHCP
    if around.filters_bridges and any(link.bridge for link in named.networks.values()):
        yield _FIREWALL
    for link in named.networks.values() if node.session else ():
        allowed = bridge_helper.allows(around.bridge_rules, link.bridge) and around.bridge_helper
        if link.bridge and not allowed:
            yield Finding(
                "problem",
                "network",
                f"a user's session may not connect machines to bridge {link.bridge}",
                bridge_helper.mend(link.bridge),
            )


def _network(reading: Reading) -> Finding:
    node = reading.node
    if node.session:
        return Finding("ok", "network", "user-mode networking, as in every user's session")
    if NETWORK in node.networks:
        return Finding("ok", "network", f"libvirt's network {NETWORK} is active")
    for each in reading.networks.values():
        if each.network.fleet and each.network.active:
            return Finding("ok", "network", f"{each.network.name}, which an agent made, is active")
    message = f"libvirt's network {NETWORK} is not active"
    mend = f"virsh -c {node.uri} net-start {NETWORK} && virsh -c {node.uri} net-autostart {NETWORK}"
    return Finding("problem", "network", message, mend)


def _named_network(name: str, link: Link, reading: Reading) -> Finding:
    """One of the setting networks."""
    node, known = reading.node, reading.networks.get(link.network)
    problem = lacking(link, node, known.network if known is not None else None)
    if not problem:
        where = f"libvirt's network {link.network}" if link.network else f"bridge {link.bridge}"
        unseen = " (the host does not say whether it is there)"
        seen = bool(link.network) or node.bridges is not None
        return Finding("ok", "network", f"{name} is {where}{'' if seen else unseen}")
    return Finding("problem", "network", f"{name}: {problem}", _mend_network(link, reading))


def _mend_network(link: Link, reading: Reading) -> str:
    """The command that mends it, where there is one."""
    node, known = reading.node, reading.networks.get(link.network)
    if known is not None and not known.network.active:
        virsh = f"virsh -c {node.uri}"
        return f"{virsh} net-start {link.network} && {virsh} net-autostart {link.network}"
    missing = node.bridges is not None and link.bridge and link.bridge not in node.bridges
    if missing and not link.virtualport:
        return (
            f"sudo ip link add name {link.bridge} type bridge && sudo ip link set {link.bridge} up "
            "(and say so in the host's own network configuration, to have it after a reboot)"
        )
    if missing:
        return f"sudo ovs-vsctl add-br {link.bridge}"
    return ""


def _virtlogd(node: RawNode, around: Surroundings) -> Finding:
    if node.session:
        if "virtlogd" in around.programs:
            return Finding("ok", "virtlogd", "is started when a machine is")
        return Finding("problem", "virtlogd", "is not installed", "sudo apt install libvirt-daemon")
    if around.virtlogd_socket:
        return Finding("ok", "virtlogd", "listens")
    mend = "sudo systemctl enable --now virtlogd.socket"
    return Finding(
        "problem", "virtlogd", "does not listen: no machine with a console log starts", mend
    )


def _lengths(node: RawNode, around: Surroundings) -> Iterator[Finding]:
    if not node.session:
        return
    for variable, folder in sorted(around.folders.items()):
        length = len(str(folder).encode())
        longest = LONGEST_CONFIG if variable == "XDG_CONFIG_HOME" else LONGEST_FOLDER
        if length > longest:
            message = f"{folder} has {length} characters: libvirt's sockets below it do not fit"
            mend = f"export {variable}=… to a folder with at most {longest} characters"
            yield Finding("problem", "paths", message, mend)


def local_findings(around: Surroundings) -> Iterator[Finding]:
    """What the agent itself needs on the machine that it runs on."""
    if "qemu-img" in around.programs:
        yield Finding("ok", "qemu-img", "is there")
    else:
        message = "is missing: images cannot be converted"
        yield Finding("problem", "qemu-img", message, "sudo apt install qemu-utils")


def _data(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    nearest = next((at for at in (folder, *folder.parents) if at.exists()), folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        yield Finding("ok", "data", f"{folder} can be written")
    else:
        mend = f"sudo install -d -o $USER {folder}, or another with --data-dir"
        yield Finding("problem", "data", f"{folder} cannot be written by this user", mend)


# -- the repository ---------------------------------------------------------------------------


def _repository(settings: Settings) -> Iterator[Finding]:
    try:
        with opened(settings) as repository:
            refs = repository.fetch()
            yield Finding("ok", "repository", f"{repository.address} can be read")
            if f"refs/heads/{settings.branch}" in refs:
                yield Finding("ok", "branch", f"{settings.branch} is there")
            else:
                message = f"there is no branch {settings.branch!r}"
                yield Finding(
                    "problem", "branch", message, f"git push origin HEAD:{settings.branch}"
                )
            if settings.status_ref in refs:
                snapshot = Reader(repository, settings, Catalogue.load()).now(refs)
                yield _fleet(settings, snapshot)
                yield from _locks(snapshot)
            else:
                yield Finding("note", "status", "the agent has not written its branch yet")
    except (RepositoryError, CommandError) as error:
        yield Finding("problem", "repository", str(error))


def _locks(snapshot: Snapshot) -> Iterator[Finding]:
    """What the agent has seen of them."""
    kind = snapshot.reader.catalogue.kinds["Node"]
    return locks(
        {entry.name: entry.status.get("conditions", ()) for entry in snapshot.entries(kind)}
    )


def _fleet(settings: Settings, snapshot: Snapshot) -> Finding:
    fleet = str(snapshot.agent.get("fleet") or "")
    if fleet == settings.fleet:
        return Finding("ok", "status", f"the branch {settings.status_branch} is of fleet {fleet}")
    message = (
        f"the branch {settings.status_branch} is of fleet {fleet or '(none)'!r}, this one's is "
        f"{settings.fleet!r}: the agent refuses it"
    )
    return Finding(
        "problem", "status", message, "name the same --fleet, or another --status-branch"
    )
