"""Debian's docker-registry on loopback, and container images in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_PACKAGE = "docker-registry"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
USER, PASSWORD = "puller", "a secret/word:with signs"


def unpacked() -> Path:
    """Debian's package, not installed: nothing of it is started or added to the system."""
    cache = Path(os.environ.get("GITVIRT_CACHE") or Path.home() / ".cache/gitvirt")
    there = cache / _PACKAGE
    if not there.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _run(["apt-get", "-q", "download", _PACKAGE], folder)
            for package in Path(folder).glob("*.deb"):
                _run(["dpkg-deb", "-x", package.name, "root"], folder)
            try:
                (Path(folder) / "root").rename(there)
            except OSError:
                assert there.exists()  # another run was faster
    return there / "usr/bin/docker-registry"


def _run(arguments: list[str], folder: str | Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=registry", "-keyout", str(key)]
    _run([*command, "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)], folder)
    return certificate, key


class Registry:
    """Serves what is pushed. With `auth` it asks for user and password: `htpasswd` by basic auth,
    or for tokens from an address.
    """

    def __init__(
        self, folder: Path, *, auth: Mapping[str, Any] | None = None, tls: bool = False
    ) -> None:
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self.context: ssl.SSLContext | None = None
        self.ca = ""
        http: dict[str, Any] = {"addr": self.host, "secret": "test"}
        if tls:
            file, key = certificate(folder)
            self.ca = file.read_text()
            self.context = ssl.create_default_context(cadata=self.ca)
            http["tls"] = {"certificate": str(file), "key": str(key)}
        self.config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": http,
        }
        if auth is not None:
            self.config["auth"] = auth
        self.authorization = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        """With what is pushed."""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        file = self._folder / "config.yml"
        file.write_text(json.dumps(self.config))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [unpacked(), "serve", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        host, port = self.host.split(":")
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return self
            except OSError:
                ended = self._process.poll() is not None or time.monotonic() > until
                assert not ended, (self._folder / "log").read_text()
                time.sleep(0.02)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def image(self, name: str) -> str:
        return f"{self.host}/{name}"

    # -- pushing ------------------------------------------------------------------------------

    def push(self, name: str, tag: str, *layers: bytes) -> str:
        """The digest of the manifest. The layers as they are stored, the lowest first."""
        config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
        described = [self.blob(name, layer, _LAYER) for layer in layers]
        content = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self.blob(name, config, "application/vnd.docker.container.image.v1+json"),
            "layers": described,
        }
        return self.manifest(name, tag, content, _MANIFEST)

    def index(self, name: str, tag: str, platforms: Mapping[str, str]) -> str:
        """An index of manifests that are there, by architecture."""
        entries = [
            {
                "mediaType": _MANIFEST,
                "digest": digest,
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            }
            for architecture, digest in platforms.items()
        ]
        content = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
        return self.manifest(name, tag, content, _INDEX)

    def manifest(self, name: str, tag: str, content: Mapping[str, Any], media: str) -> str:
        data = json.dumps(content).encode()
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", data, media)
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def blob(self, name: str, data: bytes, media: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        location = self._ask("POST", f"/v2/{name}/blobs/uploads/")
        at = urlsplit(location)
        query = f"{at.query}&digest={digest}" if at.query else f"digest={digest}"
        self._ask("PUT", f"{at.path}?{query}", data, "application/octet-stream")
        return {"mediaType": media, "digest": digest, "size": len(data)}

    def _ask(self, method: str, path: str, body: bytes = b"", media: str = "") -> str:
        connection = (
            HTTPSConnection(self.host, context=self.context)
            if self.context
            else HTTPConnection(self.host)
        )
        headers = {"Content-Type": media} if media else {}
        headers["Authorization"] = self.authorization
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        said = response.read()
        connection.close()
        assert response.status < 300, said
        return response.headers.get("Location", "")


def htpasswd(folder: Path) -> dict[str, Any]:
    """The setting by which a registry asks for user and password."""
    file = folder / "htpasswd"
    file.write_text(f"{USER}:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "test", "path": str(file)}}


_BCRYPT = "$2b$05$6ctC41F2oYIMxG72AWtP9.nfVZK5uwtkicgZS5e5Isf0j0RmiRqRe"
"""Of PASSWORD; Debian's registry knows no other hash."""


class Tokens:
    """Whoever gives tokens out for a registry: `setting` is what the registry has to know."""

    def __init__(self, folder: Path, realm: str) -> None:
        self._folder = folder
        self._key = folder / "tokens.key"
        root = folder / "tokens.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=tokens", "-keyout", str(self._key), "-out", str(root)]
        _run(command, folder)
        self._certificate = "".join(root.read_text().splitlines()[1:-1])
        self.setting = {
            "token": {
                "realm": realm,
                "service": "the registry",
                "issuer": "tokens",
                "rootcertbundle": str(root),
            }
        }

    def token(self, name: str, *actions: str) -> str:
        """For a repository."""
        now = int(time.time())
        claims = {
            "iss": "tokens",
            "sub": USER,
            "aud": "the registry",
            "jti": str(now),
            "iat": now - 10,
            "nbf": now - 10,
            "exp": now + 300,
            "access": [{"type": "repository", "name": name, "actions": list(actions)}],
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._certificate]}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=signed.encode(),
            capture_output=True,
            check=True,
        )
        return f"{signed}.{_url64(done.stdout)}"


def _url64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def layer(entries: Iterable[tuple[str, bytes | tarfile.TarInfo]], **options: Any) -> bytes:
    """A tar archive of files by path; or of whatever a header says."""
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w", **options) as tar:
        for name, content in entries:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stored.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, target
    return info


def packed(entries: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    """As Docker stores a layer."""
    return gzip.compress(layer(entries), compresslevel=1)
