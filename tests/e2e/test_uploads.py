"""Files that people upload to a real node, and what the agent makes of them."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import PATIENCE, Stand, find
from tests.rig import manifest

MIB = 1024 * 1024
DISK = bytes(510) + b"\x55\xaa" + random.Random(11).randbytes(4 * MIB - 512)
LARGE = 768 * MIB


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand) -> Iterator[Stand]:
    with make_stand("uploads") as stand:
        stand.start()
        yield stand


def wants(kind: str, name: str) -> dict[str, Any]:
    return manifest(kind, name, {"dataSource": {"type": "Upload"}})


@pytest.mark.parametrize(
    ("kind", "word"),
    [("VirtualImage", "vi"), ("ClusterVirtualImage", "cvi"), ("VirtualDisk", "vd")],
)
def test_a_file_becomes_the_data_of_what_waits_for_it(
    stand: Stand, tmp_path: Path, kind: str, word: str
) -> None:
    stand.push({f"{word}.yaml": wants(kind, "uploaded")})
    stand.wait_for_phase(kind, "uploaded", "WaitForUserUpload")
    command = stand.status(kind, "uploaded")["uploadCommand"]
    assert command == f"gitvirt upload {word}/uploaded FILE"
    raw, qcow2 = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(DISK)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    said = stand.gitvirt("upload", f"{word}/uploaded", str(qcow2), "--wait")
    assert "/uploaded is ready.\n" in said
    status = stand.status(kind, "uploaded")
    facts = status["import"] if kind == "VirtualDisk" else status
    assert facts["digest"] == hashlib.sha256(qcow2.read_bytes()).hexdigest()
    stand.wait_for(lambda: not stand.volumes("upload_*"), "what was uploaded to be cleared away")
    refused = stand.gitvirt("upload", f"{word}/uploaded", str(raw), ok=False)
    assert "is ready already" in refused


def test_an_interrupted_upload_is_gone_on_with(stand: Stand, tmp_path: Path) -> None:
    stand.push({"large.yaml": wants("VirtualImage", "large")})
    stand.wait_for_phase("VirtualImage", "large", "WaitForUserUpload")
    large = tmp_path / "large.raw"
    large.write_bytes(DISK)
    with large.open("r+b") as file:
        file.truncate(LARGE)
    command = ["env", "--default-signal=INT", sys.executable, "-m", "agent"]  # as at a terminal
    command += ["upload", "vi/large", str(large)]
    sending = subprocess.Popen(command, env=stand.environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    while not any(path.stat().st_size for path in stand.volumes("upload_*")):
        assert time.monotonic() < end, "nothing arrived"
        assert sending.poll() is None, "it was too fast to be interrupted"
        sending.send_signal(signal.SIGCONT)
        time.sleep(0.002)
        if stand.volumes("upload_*"):
            sending.send_signal(signal.SIGSTOP)  # it is let go on by small steps from here
    sending.send_signal(signal.SIGINT)
    sending.send_signal(signal.SIGCONT)
    said = sending.communicate(timeout=PATIENCE)[1]
    assert sending.returncode == 130
    assert "the same command goes on with what has arrived" in said
    (part,) = stand.volumes("upload_*")
    assert 0 < part.stat().st_size < LARGE
    assert stand.phase("VirtualImage", "large") == "WaitForUserUpload"
    said = stand.gitvirt("upload", "vi/large", str(large), "--wait", "--timeout", "120s")
    assert "comparing: " in said
    assert "/large is ready.\n" in said
    assert stand.status("VirtualImage", "large")["size"]["unpackedBytes"] == str(LARGE)


def test_a_file_that_is_no_image_is_refused_by_the_agent_too(stand: Stand) -> None:
    """Whoever may write to the pool may go without the command."""
    stand.push({"wrong.yaml": wants("VirtualImage", "wrong")})
    stand.wait_for_phase("VirtualImage", "wrong", "WaitForUserUpload")
    uid = stand.object("VirtualImage", "wrong")["metadata"]["uid"]
    page = b"<html>" + b"login " * 200
    name = f"uploads_upload_{uid}_{len(page)}_{hashlib.sha256(page).hexdigest()}"
    folder = stand.pool
    (folder / name).write_bytes(page)
    (folder / f"{name}.whole").write_bytes(b"")

    def told() -> bool:
        found = find(stand.status("VirtualImage", "wrong"), "Ready", "False")
        return "is refused" in found.get("message", "")

    stand.wait_for(told, "the refusal")
    stand.wait_for(lambda: not stand.volumes(f"upload_{uid}*"), "the file to be cleared away")
