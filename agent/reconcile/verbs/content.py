"""Verbs that give a volume its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.core.actions import CopyVolume, ImportImage, WriteSeed
from agent.core.host import RawVolume
from agent.core.identity import known_volume, unfinished
from agent.core.image_sources import VolumeSource
from agent.core.model import Json
from agent.core.volumes import users_of, volume_xml
from agent.images.errors import ImageError
from agent.reconcile.verbs.copying import copied
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.site import Content, Site
from agent.reconcile.verbs.verb import Done, Sight, Verb
from agent.reconcile.verbs.volume import is_there, refuse
from agent.reconcile.world import VolumeRead

SEED = 1024 * 1024
"""Bytes that a medium is taken for in a plan."""
_BYTE = 1
"""Bytes that unknown image data is taken for."""
_FORMAT = "qcow2"
_CHANGED = (
    "Its address now gives other data than another node has from it: give what has changed a name "
    "of its own."
)


class Write(Verb[WriteSeed]):
    def perform(self, action: WriteSeed, site: Site) -> Done:
        content = site.supply.seed(action)
        with site.volume(action.pool, action.name):
            site.check()
            return is_there(site.name, _store(site, action.pool, action.name, content))

    def simulate(self, action: WriteSeed, facts: Facts) -> Done:
        return is_there(facts.name, _stored(facts, action.pool, action.name, SEED, SEED))


class Import(Verb[ImportImage]):
    """What it is stored as, and so what it relies on, is known only once the data is there."""

    long = True

    def perform(self, action: ImportImage, site: Site) -> Done:
        copy = _copy(action)
        if copy is None:
            done = self._brought(action, site)
            return replace(done, seen=(*done.seen, *_marked(action, done.result, site)))
        marks: list[VolumeRead] = []

        def mark(volume: RawVolume) -> None:
            marks.extend(_marked(action, _of_copy(action, volume, site.name).result, site))

        done = _of_copy(action, copied(copy, site, mark), site.name)
        return replace(done, seen=(*done.seen, *marks))

    def _brought(self, action: ImportImage, site: Site) -> Done:
        with site.supply.image(action.source, site) as image:
            name = f"{action.volume_prefix}{image.digest}.{image.format}"
            if action.volume and (action.volume, action.size) != (name, image.size):
                raise ImageError("SourceChanged", _CHANGED, retry=False)
            with site.volume(action.pool, name):
                site.check()  # hours may have passed
                _replaceable(site, action.pool, name, image.size)
                volume = _store(site, action.pool, name, image)
        facts = _result(action, image.digest, image.format, image.size, image.virtual_size)
        if image.resolved:
            facts["resolvedImage"] = image.resolved
        return replace(is_there(site.name, volume), result=facts)

    def simulate(self, action: ImportImage, facts: Facts) -> Done:
        if action.volume:
            volume = _stored(facts, action.pool, action.volume, 0, action.size)
            return is_there(facts.name, volume)
        if (copy := _copy(action)) is not None:
            made = _stored(facts, copy.pool, copy.name, copy.capacity, _BYTE)
            return _of_copy(action, made, facts.name)
        digest = f"unknown-{action.source.mark}"
        name = f"{action.volume_prefix}{digest}.{_FORMAT}"
        volume = _stored(facts, action.pool, name, 0, _BYTE)
        result = _result(action, digest, _FORMAT, _BYTE, 0)
        return replace(is_there(facts.name, volume), result=result)


def _copy(action: ImportImage) -> CopyVolume | None:
    """What the host does by itself: image data that a volume of its own holds."""
    source = action.source
    if not isinstance(source, VolumeSource) or not source.copied:
        return None
    name = f"{action.volume_prefix}{source.digest}.{_FORMAT}"
    return CopyVolume(
        *(action.node, action.pool, name, source.pool, source.volume, source.size),
        source_format=source.format,
    )


def _marked(action: ImportImage, result: Mapping[str, Json], site: Site) -> tuple[VolumeRead, ...]:
    """Have a mark beside data that nobody can bring again: it says whose that is."""
    if not action.known:
        return ()
    sizes = result["storedBytes"], result["unpackedBytes"]
    name = known_volume(action.known, *sizes, result["digest"], result["format"])
    made = site.node.create_volume(action.pool, volume_xml(name, "raw", 0))
    return (VolumeRead(site.name, action.pool, name, made),)


def _of_copy(action: ImportImage, volume: RawVolume, node: str) -> Done:
    assert isinstance(action.source, VolumeSource)  # noqa: S101  # asked only then
    known = action.source.digest, _FORMAT, volume.physical, volume.capacity
    mark = VolumeRead(node, volume.pool, unfinished(volume.name), None)
    done = is_there(node, volume)
    return replace(done, seen=(mark, *done.seen), result=_result(action, *known))


def _result(
    action: ImportImage, digest: str, image_format: str, stored: int, unpacked: int
) -> dict[str, Json]:
    return {
        "digest": digest,
        "format": image_format,
        "storedBytes": stored,
        "unpackedBytes": unpacked,
        "source": action.source.mark,
    }


def _replaceable(sight: Sight, pool: str, name: str, size: int) -> None:
    """Fails if a volume of that name with other content is in use."""
    for node in sight.sharing(pool):
        seen = node.read(frozenset({pool}))
        known = seen.volumes.get((pool, name))
        if known is not None and known.physical != size:
            refuse(users_of(name, seen.domains.values(), seen.volumes.values()))


def _store(site: Site, pool: str, name: str, content: Content) -> RawVolume:
    """Have a volume with just this content. One that is there whole is left alone; a part of one is
    made anew.
    """
    host = site.node
    known = host.read_volumes(pool).get((pool, name))
    if known is not None and known.physical == content.size:
        return known
    if known is not None:
        host.delete_volume(pool, name)
    # made empty, so that the file's size tells how much of it has arrived
    host.create_volume(pool, volume_xml(name, "raw", 0))
    return host.upload_volume(pool, name, content.chunks, content.size)


def _stored(facts: Facts, pool: str, name: str, capacity: int, size: int) -> RawVolume:
    known = facts.volume(pool, name)
    if known is not None and known.physical == size:
        return known
    return RawVolume(pool, name, f"{facts.path(pool)}/{name}", capacity, size)
