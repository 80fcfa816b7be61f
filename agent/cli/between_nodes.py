"""What `gitvirt doctor` finds between the hosts of a fleet: what one has and others lack, whether a
shared pool is shared, and whether a machine can go from each to each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from agent.cli.finding import Finding
from agent.core.host import Host, HostError, RawNode, Reading
from agent.core.locking import guest
from agent.places import NodeSettings

AT_ONCE = 16
"""Hosts that try others at the same time."""
PROBE = "doctor"
_SHOWN = 5
"""So many names are told."""


def between(readings: Mapping[str, Reading], shared: frozenset[str]) -> Iterator[Finding]:
    """By what was read of the hosts that could be reached."""
    if len(readings) > 1:
        nodes = {name: reading.node for name, reading in readings.items()}
        yield from _versions(nodes)
        yield from _processors(nodes)
        for pool in sorted(shared):
            yield from _pool(pool, readings)


def _versions(nodes: Mapping[str, RawNode]) -> Iterator[Finding]:
    for word, versions in (
        ("libvirt", {name: node.libvirt_version for name, node in nodes.items()}),
        ("QEMU", {name: node.qemu_version for name, node in nodes.items()}),
    ):
        if len({*versions.values()}) == 1:
            yield Finding("ok", word, f"{next(iter(versions.values()))} on all nodes")
            continue
        told = ", ".join(f"{version} on {name}" for name, version in versions.items())
        older = "machines do not go to an older QEMU than that of their type"
        message = f"{told}: {older}" if word == "QEMU" else told
        yield Finding("note", word, message, "give all nodes the same version")


def _processors(nodes: Mapping[str, RawNode]) -> Iterator[Finding]:
    for word, known in (
        ("models", {name: node.cpu_models for name, node in nodes.items()}),
        ("features", {name: node.cpu_features for name, node in nodes.items()}),
    ):
        common = frozenset.intersection(*known.values())
        more = {name: sorted(has - common) for name, has in known.items() if has - common}
        if not more:
            yield Finding("ok", "CPU", f"all nodes can give the same {word}")
            continue
        told = "; ".join(f"{name} has beyond them {_some(names)}" for name, names in more.items())
        message = f"not all nodes can give the same {word}: {told}"
        mend = (
            "machines that are to move need a VirtualMachineClass of type Discovery or Model that "
            "all nodes can give"
        )
        yield Finding("note", "CPU", message, mend)


def _pool(pool: str, readings: Mapping[str, Reading]) -> Iterator[Finding]:
    """What one has put there, all have to see."""
    seen = {
        name: {volume for known, volume in reading.volumes if known == pool}
        for name, reading in readings.items()
        if pool in reading.pools
    }
    subject = f"storage pool {pool}"
    if len(seen) < 2:
        where = next(iter(seen), "no node")
        message = f"is shared, as the settings say, and only {where} has it"
        yield Finding("note", subject, message, f"virsh pool-start {pool} on the others")
        return
    every = set().union(*seen.values())
    for name, there in seen.items():
        if missing := sorted(every - there):
            message = f"node {name} does not see {_some(missing)}, which other nodes have there"
            mend = "mount the same folder on all nodes, or take `shared` out of the setting pools"
            yield Finding("problem", subject, message, mend)
    if all(there == every for there in seen.values()):
        what = f"the same {len(every)} volumes" if every else "nothing yet"
        yield Finding("ok", subject, f"{', '.join(seen)} have {what} there")


def locks(conditions: Mapping[str, Sequence[Mapping[str, object]]]) -> Iterator[Finding]:
    """What the agent has seen of locks, by the conditions of each node."""
    for name, listed in conditions.items():
        for each in listed:
            if each.get("type") == "SharedStorageLocked" and each.get("status") == "False":
                yield Finding("problem", f"{name}: locks", str(each.get("message")).rstrip("."))


def peers(hosts: Mapping[str, Host], nodes: Mapping[str, NodeSettings]) -> Iterator[Finding]:
    """Send a guest that never runs from each host to each, as a migration does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(lambda name: list(_from(name, hosts, nodes)), hosts):
            yield from found
    for name, node in nodes.items():
        if name in hosts and node.peer and not _encrypted(node):
            where = node.migrate or node.peer
            message = f"the memory of machines that come to {name} travels unencrypted ({where})"
            yield Finding("note", f"{name}: peer", message)


def _encrypted(node: NodeSettings) -> bool:
    return node.peer.startswith(("qemu+tls:", "qemu+ssh:")) and not node.migrate


def _from(
    name: str, hosts: Mapping[str, Host], nodes: Mapping[str, NodeSettings]
) -> Iterator[Finding]:
    reached = []
    for other, host in hosts.items():
        if other == name or not nodes[other].peer:
            continue
        uuid = guest(f"{PROBE}/{name}", other)
        try:
            hosts[name].try_peer(uuid, nodes[other].peer, nodes[other].migrate)
            reached.append(other)
        except HostError as error:
            mend = (
                f"look at peer and migrate in the setting nodes.{other}: {name}'s libvirtd has to "
                "reach that address, and QEMU that of migrate, through every firewall between"
            )
            yield Finding("problem", f"{name}: peer", f"{other}: {error}", mend)
        finally:
            _ended(uuid, host, hosts[name])
    if reached:
        yield Finding("ok", f"{name}: peer", f"machines can go to {', '.join(reached)}")


def _ended(uuid: str, *hosts: Host) -> None:
    for host in hosts:
        try:
            host.destroy(uuid)
        except HostError:
            continue  # what could not be asked has been told


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
