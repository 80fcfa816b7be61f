"""A new agent that sees the ledger before it sees the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.server import Faulty, serve
from tests.rig import Rig, disk, machine, manifest

IMAGE = bytes(510) + b"\x55\xaa" + bytes(1 << 20)


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as server:
        server.routes["/image"] = serve(IMAGE)
        yield server


def test_what_is_known_is_kept_until_the_host_is_seen(tmp_path: Path, server: Faulty) -> None:
    rig = Rig(tmp_path)
    source = {"type": "HTTP", "http": {"url": server.url("/image")}}
    image = manifest(
        "VirtualImage", "image", {"storage": "ContainerRegistry", "dataSource": source}
    )
    rig.push({"all.yaml": [image, disk(), machine()]})
    rig.settle()
    before = rig.documents()
    assert len(server.requests) == 1
    rig.verbs()
    rig.host.disconnect()
    rig.start()
    for _ in range(5):
        rig.agent.reconciler.look_at_git()
        rig.step()
    assert objects(rig.documents()) == objects(before)
    rig.host.reconnect()
    rig.settle()
    assert objects(rig.documents()) == objects(before)
    assert rig.verbs() == []
    assert len(server.requests) == 1


def objects(documents: dict[str, object]) -> dict[str, object]:
    """The objects' own files."""
    return {
        path: value
        for path, value in documents.items()
        if path.startswith(("namespaces/", "cluster/"))
    }
