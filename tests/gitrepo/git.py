"""Real Git, and a real Git server on loopback that can be told to misbehave."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
}


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run Git in a folder; what it printed, without the last newline."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, input=stdin, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().removesuffix("\n")


def bare(folder: Path) -> Path:
    """A new bare repository that takes pushes over HTTP."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--bare", "-b", "main")
    git(folder, "config", "http.receivepack", "true")
    git(folder, "config", "gc.auto", "0")
    return folder


def put(
    repository: Path,
    files: Mapping[str, str],
    ref: str = "refs/heads/main",
    subject: str = "by hand",
) -> str:
    """Commit exactly these files onto a ref with real Git; the new commit's id."""
    lines = []
    for path, content in files.items():
        blob = git(repository, "hash-object", "-w", "--stdin", stdin=content.encode())
        lines.append(f"100644 {blob}\t{path}")
    index = {**ENVIRONMENT, "GIT_INDEX_FILE": str(repository / "test-index")}
    for arguments in (["read-tree", "--empty"], ["update-index", "--index-info"]):
        subprocess.run(
            ["git", *arguments],
            cwd=repository,
            env=index,
            input="\n".join(lines).encode() + b"\n",
            check=True,
            capture_output=True,
        )
    tree = subprocess.run(
        ["git", "write-tree"], cwd=repository, env=index, check=True, capture_output=True
    ).stdout.decode()
    found = git(repository, "for-each-ref", "--format=%(objectname)", ref)
    parent = ["-p", found] if found else []
    commit = git(repository, "commit-tree", tree.strip(), *parent, "-m", subject)
    git(repository, "update-ref", ref, commit)
    return commit


def raw_tree(repository: Path, entries: list[tuple[str, bytes, str]]) -> str:
    """A tree that Git itself would not make: (mode, name, id) as they are."""
    content = b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(identity)
        for mode, name, identity in entries
    )
    return git(
        repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=content
    )


class Handler(BaseHTTPRequestHandler):
    """Passes requests to `git http-backend`, unless the server's `answer` deals with them."""

    server: GitServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        if self.server.answer is not None and self.server.answer(self):
            return
        if self.server.user and self.headers.get("Authorization") != self.server.expected:
            self.reply(401, b"", {"WWW-Authenticate": 'Basic realm="git"'})
            return
        self.backend()

    do_POST = do_GET  # noqa: N815

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def run_backend(self) -> tuple[int, dict[str, str], bytes]:
        path, _, query = self.path.partition("?")
        body = self.body()
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "somebody",
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return status, headers, content

    def backend(self) -> None:
        status, headers, content = self.run_backend()
        self.reply(status, content, headers)

    def reply(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> bool:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class GitServer(ThreadingHTTPServer):
    """Serves every repository below `root`; with `user` only to whoever knows the password."""

    daemon_threads = True

    def __init__(self, root: Path, user: str = "", password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.user = user
        self.expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.answer: Callable[[Handler], bool] | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        """Set at the end, for answers that wait."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, name: str, user: str = "") -> str:
        at = f"{user}@" if user else ""
        return f"http://{at}127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none of the test's business."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
