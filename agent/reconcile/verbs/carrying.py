"""Volumes that go from one node to another: before a machine follows, and for good once it has.

A volume that was made on the target for a machine to come has a mark beside it
(`core.identity.unfinished`) until the machine is there: what lies beside such a mark has never been
anybody's data.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.core.host import Host, HostError, RawVolume
from agent.core.human import size
from agent.core.identity import is_copied, unfinished
from agent.core.migrating import Nvram
from agent.core.moves import Freight
from agent.core.volumes import users_of, volume_xml
from agent.images.errors import CancelledError
from agent.reconcile.verbs.copying import MARK
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.volume import refuse
from agent.reconcile.world import Observation, VolumeRead

_AHEAD = 8
"""Pieces that may be read before they are written."""
_WHOLE = 2 * MARK
"""Bytes of the mark beside what was taken along and is whole."""
Volumes = Mapping[tuple[str, str], RawVolume]
Names = tuple[tuple[str, str], ...]
"""Pool and name of each volume."""


def load(freight: Sequence[Freight], source: Host, site: Site) -> None:
    """Have all of it on the node of that site, what others are based on first."""
    there: dict[tuple[str, str], RawVolume] = {}
    for pool in {each.pool: None for each in freight}:
        there.update(site.node.read_volumes(pool))
    lots = [each for each in freight if not _is_there(each, there)]
    for pool in {each.pool: None for each in lots}:
        _check_space(pool, [each for each in lots if each.pool == pool], site, there)
    for each in lots:
        site.check()
        with site.volume(each.pool, each.name):
            if _make_room(each, site.node):
                _make(each, source, site.node)


def _is_there(each: Freight, there: Volumes) -> bool:
    """True of what is only read and is whole there; what a guest writes to is made anew."""
    known = there.get((each.pool, each.name))
    if known is None or (each.pool, unfinished(each.name)) in there:
        return False
    if each.mirrored:
        raise HostError(
            "VolumeExists",
            f"there is a volume {each.name} on the target already, and nothing tells what it "
            "holds. If both nodes have the same folder, it is the machine's own: say `shared: "
            "true` of the pool in the setting pools. If not, and if nobody needs it, delete it "
            "there with `virsh vol-delete`",
        )
    # what is imported has no mark: its length tells how much has come
    return known.physical >= each.physical or is_copied(each.name)


def _make_room(each: Freight, target: Host) -> bool:
    """Have nothing there but a mark; False if it is there, whole, by now. Looked at anew, for hours
    may have passed, and others may have brought it.
    """
    there, mark = target.read_volumes(each.pool), unfinished(each.name)
    if _is_there(each, there):
        return False
    if (each.pool, each.name) in there:
        refuse(users_of(each.name, target.read(frozenset()).domains.values(), there.values()))
    old = there.get((each.pool, mark))
    if old is not None and old.capacity >= _WHOLE:  # of an attempt before
        target.delete_volume(each.pool, each.name)
        target.delete_volume(each.pool, mark)
    target.create_volume(each.pool, volume_xml(mark, "raw", MARK))
    if (each.pool, each.name) in there:
        target.delete_volume(each.pool, each.name)
    return True


def _check_space(pool: str, lot: Iterable[Freight], site: Site, there: Volumes) -> None:
    """What an earlier attempt has left is deleted first."""
    left = {name: each.physical for (of, name), each in there.items() if of == pool}
    needed = sum(max(each.physical - left.get(each.name, 0), 0) for each in lot)
    free = site.node.free_space(pool) if needed else 0
    if free < needed:
        raise HostError(
            "NoSpace",
            f"the machine's volumes need {size(needed)} in storage pool {pool} of node "
            f"{site.name}, and {size(free)} are free: free space in it or enlarge it",
        )


def _make(each: Freight, source: Host, target: Host) -> None:
    if each.mirrored:
        base = each.backing_path, each.backing_format
        target.create_volume(each.pool, volume_xml(each.name, each.format, each.capacity, *base))
        return
    _copy(each, source, target)
    target.delete_volume(each.pool, unfinished(each.name))


def _copy(
    each: Freight, source: Host, target: Host, told: Callable[[int], None] = lambda _bytes: None
) -> None:
    """All of its file, as it is. `told` hears of each piece."""
    target.create_volume(each.pool, volume_xml(each.name, "raw", each.physical))
    with _read(source, each) as pieces:
        counted = _counted(pieces, told)
        target.upload_volume(each.pool, each.name, counted, each.physical)


def _counted(pieces: Iterator[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        told(len(piece))
        yield piece


def take(freight: Sequence[Freight], source: Host, site: Site) -> str:
    """Have all of it on the node of that site, with what a machine that is off has written. That
    keeps its marks until the machine is there. Raises HostError if it was written to meanwhile.
    Says what was taken, for `untouched`.
    """
    written = [each for each in freight if each.mirrored]
    before = {each: _state(each.pool, each.name, source) for each in written}
    lots = _lots(freight, source, site)
    total, done = sum(each.physical for each in lots), [0]

    def told(more: int) -> None:
        done[0] += more
        site.check()
        site.told(100 * done[0] // max(total, 1))

    for each in lots:
        site.check()
        with site.volume(each.pool, each.name):
            if not _make_room(each, site.node):
                continue
            _copy(each, source, site.node, told)
            if not each.mirrored:
                site.node.delete_volume(each.pool, unfinished(each.name))
    for each, seen in before.items():
        if _state(each.pool, each.name, source) != seen:
            raise HostError("VolumeChanged", f"volume {each.name} was written to meanwhile")
    for each in freight:
        there = site.node.read_volumes(each.pool)
        if not (each.mirrored or _is_there(each, there)) or (each.pool, each.name) not in there:
            raise HostError("VolumeNotFound", f"volume {each.name} is gone from the target")
    for each in written:
        site.node.resize_volume(each.pool, unfinished(each.name), _WHOLE)
    return " ".join(before.values())


def _state(pool: str, name: str, host: Host) -> str:
    """Another text once it was written to."""
    text = f"{pool}/{name}/{host.changed(pool, name)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def untouched(volumes: Names, source: Host, taken: str) -> None:
    """Raises HostError where what is left on the source is not what was taken from there: somebody
    has used it since.
    """
    for pool, name in volumes:
        known = (pool, name) in source.read_volumes(pool)
        if known and taken and _state(pool, name, source) not in taken.split():
            raise HostError(
                "VolumeChanged",
                f"volume {name} was written to after it was copied, which the copy lacks: both are "
                "kept. See which one is right, and delete the other with `virsh vol-delete` (the "
                "copy once its domain is undefined with `virsh undefine --keep-nvram`)",
            )


def same(volumes: Names, source: Host, target: Host) -> None:
    """Raises HostError where what a machine that is off writes to is not one file on both nodes, as
    their pool is said to be: a file that is called alike may be one of an earlier time.
    """
    for pool, name in volumes:
        has = (pool, name) in target.read_volumes(pool)
        if not has or _state(pool, name, source) != _state(pool, name, target):
            raise HostError(
                "VolumeNotShared",
                f"volume {name} is not the same on the target, though storage pool {pool} is said "
                "to be shared: mount the same folder on both nodes, or take `shared` out of the "
                "setting pools",
            )


def _lots(freight: Sequence[Freight], source: Host, site: Site) -> list[Freight]:
    """What has to be copied, as large as it is now."""
    known: dict[tuple[str, str], RawVolume] = {}
    there: dict[tuple[str, str], RawVolume] = {}
    for pool in {each.pool: None for each in freight}:
        known.update(source.read_volumes(pool))
        there.update(site.node.read_volumes(pool))
    for each in freight:
        if (each.pool, each.name) not in known:
            raise HostError("VolumeNotFound", f"volume {each.name} is not there any more")
    now = [replace(each, physical=known[each.pool, each.name].physical) for each in freight]
    lots = [each for each in now if not _is_there(each, there)]
    for pool in {each.pool: None for each in lots}:
        _check_space(pool, [each for each in lots if each.pool == pool], site, there)
    return lots


@contextlib.contextmanager
def _read(source: Host, each: Freight) -> Iterator[Iterator[bytes]]:
    """All of a volume, read as it is asked for. Whoever wants no more of it ends the reading: a
    host bears few that nobody waits for.
    """
    pieces: queue.Queue[bytes | HostError | None] = queue.Queue(_AHEAD)
    unwanted = threading.Event()

    def take(piece: bytes) -> None:
        if unwanted.is_set():
            raise CancelledError
        pieces.put(piece)

    def read() -> None:
        end: HostError | None = HostError("InternalError", f"volume {each.name} was not read whole")
        try:
            source.read_volume(each.pool, each.name, take)
            end = None
        except HostError as error:
            end = error
        except CancelledError:
            pass
        finally:
            pieces.put(end)

    threading.Thread(target=read, name="carrying", daemon=True).start()
    try:
        yield _pieces(pieces)
    finally:
        unwanted.set()
        with contextlib.suppress(queue.Empty):  # it may wait for room
            while True:
                pieces.get_nowait()


def _pieces(pieces: queue.Queue[bytes | HostError | None]) -> Iterator[bytes]:
    while (piece := pieces.get()) is not None:
        if isinstance(piece, HostError):
            raise piece
        yield piece


def take_nvram(name: str, source: Host, target: Host) -> None:
    """Have what the firmware of a machine remembers on the target, before its domain is there. Not
    in the place of what another domain's remembers.
    """
    if other := _other_firmware(name, target):
        raise HostError("DomainNotOwned", f"the target has a domain {other} that is another one")
    target.write_nvram(name, source.read_nvram(name))


def unload_nvram(name: str, source: Host, target: Host) -> None:
    """Delete what was brought there of that, as one can tell: it is just what the source has."""
    there = _contents(target.read_nvram(name))
    if there and there == _contents(source.read_nvram(name)) and not _other_firmware(name, target):
        target.write_nvram(name, ())


def _contents(files: Iterable[Nvram]) -> Mapping[str, bytes]:
    return {each.file: each.content for each in files}


def _other_firmware(name: str, host: Host) -> str:
    """A domain there that is called alike, or whose firmware uses a file that is, as after it was
    renamed.
    """
    file = f"/{name}_VARS."
    return next(
        (
            raw.name
            for raw in host.read(frozenset()).domains.values()
            if raw.name == name or raw.unread or file in raw.inactive_xml or file in raw.active_xml
        ),
        "",
    )


def unload(volumes: Names, host: Host) -> None:
    """Delete what was made there for a machine that has not come: only what is marked."""
    for pool in sorted({pool for pool, _ in volumes}):
        there = host.read_volumes(pool)
        for each, name in volumes:
            if each == pool and (pool, unfinished(name)) in there:
                refuse(users_of(name, host.read(frozenset()).domains.values(), there.values()))
                host.delete_volume(pool, name)
                host.delete_volume(pool, unfinished(name))


def keep(volumes: Names, host: Host, *, taken: bool = False) -> None:
    """The machine is there: its volumes count from now on. What was taken there while it was off
    has to be whole: a definition may come late, when the next attempt has begun.
    """
    for pool, name in volumes:
        there = host.read_volumes(pool) if taken else {}
        mark = there.get((pool, unfinished(name)))
        if mark is not None and (mark.capacity < _WHOLE or (pool, name) not in there):
            raise HostError(
                "VolumeInUse",
                f"the machine's old place is kept: volume {name} is not whole in the new one. "
                "Undefine its domain there with `virsh undefine --keep-nvram`: it is taken anew",
            )
        host.delete_volume(pool, unfinished(name))


def whole(volumes: Names, source: Host, target: Host) -> None:
    """Raises HostError where the target lacks what the source still has."""
    for pool in sorted({pool for pool, _ in volumes}):
        known, there = source.read_volumes(pool), target.read_volumes(pool)
        for each, name in volumes:
            has = (pool, name) in there and (pool, unfinished(name)) not in there
            if each == pool and (pool, name) in known and not has:
                raise HostError(
                    "VolumeInUse", f"the machine's old place is kept: the new one lacks {name}"
                )


def leave(volumes: Names, source: Host, target: Host) -> None:
    """Delete what a machine has left behind, once the target has it, and nobody else refers to
    it.
    """
    for pool, name in volumes:
        known, there = source.read_volumes(pool), target.read_volumes(pool)
        if (pool, name) not in known:
            continue
        if (pool, name) not in there or (pool, unfinished(name)) in there:
            raise HostError("VolumeInUse", f"volume {name} is kept: the target lacks it")
        refuse(users_of(name, source.read(frozenset()).domains.values(), known.values()))
        source.delete_volume(pool, name)


def drop(volumes: Names, source: Host) -> None:
    """Delete what can be made again, where nobody refers to it any more."""
    for pool, name in volumes:
        known = source.read_volumes(pool)
        refuse(users_of(name, source.read(frozenset()).domains.values(), known.values()))
        source.delete_volume(pool, name)


def seen(volumes: Names, node: str, host: Host) -> tuple[Observation, ...]:
    """These volumes and their marks, as they are now."""
    found: list[Observation] = []
    for pool in sorted({pool for pool, _ in volumes}):
        there = host.read_volumes(pool)
        for each, name in volumes:
            if each == pool:
                both = (unfinished(name), name)
                found += [VolumeRead(node, pool, one, there.get((pool, one))) for one in both]
    return tuple(found)
