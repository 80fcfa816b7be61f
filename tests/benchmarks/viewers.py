"""People who look at a page, as browsers do: each hears of a commit, and fetches its page anew. An
agent writes meanwhile.

    python -m tests.benchmarks.viewers REPOSITORY PORT VIEWERS SECONDS
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from agent.gitrepo.local import LocalRepository

EVERY = 1.0
"""Seconds between two commits."""


async def main(root: Path, port: int, viewers: int, seconds: float) -> None:
    tasks = [asyncio.create_task(view(port)) for _ in range(viewers)]
    tasks.append(asyncio.create_task(write(root)))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), seconds)


async def write(root: Path) -> None:
    ref = "refs/heads/status"
    with LocalRepository(root) as repository:
        path = next(
            file.path
            for file in repository.files(repository.fetch()[ref])
            if "/virtualmachines/" in file.path
        )
        for number in range(1_000_000):
            tip = repository.fetch()[ref]
            data = repository.read_path(tip, path) or b""
            changed = data.rstrip(b"\n") + f"\n# {number}\n".encode()
            repository.commit(ref, tip, {path: changed}, f"change {number}")
            await asyncio.sleep(EVERY)


async def view(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    fetching = await asyncio.open_connection("127.0.0.1", port)
    tag = ""
    async for line in reader:
        if line.startswith(b"data:"):
            tag = await fetch(*fetching, tag)


async def fetch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tag: str) -> str:
    """The tag of what is there now."""
    known = f"If-None-Match: {tag}\r\n" if tag else ""
    asked = f"GET /vms HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n{known}\r\n"
    writer.write(asked.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    return headers.get("etag", tag).replace("w/", "W/")


if __name__ == "__main__":
    root, port, viewers, seconds = sys.argv[1:]
    asyncio.run(main(Path(root), int(port), int(viewers), float(seconds)))
