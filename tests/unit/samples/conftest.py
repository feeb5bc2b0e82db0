"""A package index on loopback that can be told to misbehave, and tiny distribution files for it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.samples import SAMPLES, Sample
from luthier.samples.build import BUILDERS
from luthier.samples.catalogue import Distribution
from luthier.samples.pip_settings import PipSettings
from luthier.samples.unpack import extract


@dataclass
class FakeIndex:
    """What is served and how; what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # what the page says, where it is to lie
    json_pages: bool = True
    file_url: str = "/files/"
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes of the body before the connection drops, one a request
    statuses: list[int] = field(default_factory=list)  # answers to file requests before the real one
    page_statuses: list[int] = field(default_factory=list)  # the same for the package's page
    login: str | None = None  # the Authorization header wanted
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def file_requests(self) -> list[Mapping[str, str]]:
        """Return the headers of each request for a file."""
        return [headers for path, headers in self.requests if path.startswith("/files/")]


def _handler(index: FakeIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            index.requests.append((self.path, dict(self.headers)))
            if index.login and self.headers.get("Authorization") != index.login:
                self.answer(401, b"no", "text/plain")
            elif self.path.startswith("/files/"):
                self.send_distribution(index.files[self.path.removeprefix("/files/")])
            elif match := re.fullmatch(r"/simple/([a-z0-9-]+)/", self.path):
                self.send_page(match[1])
            else:
                self.answer(404, b"no", "text/plain")

        def send_page(self, package: str) -> None:
            if index.page_statuses:
                self.answer(index.page_statuses.pop(0), b"later", "text/plain")
                return
            names = [n for n in index.files if re.split(r"-\d", n)[0].lower().replace("_", "-") == package]
            if not names:
                self.answer(404, b"no", "text/plain")
            elif index.json_pages:
                entries = [
                    {"filename": n, "url": index.file_url + n, "hashes": {"sha256": self.advertised(n)}} for n in names
                ]
                body = json.dumps({"meta": {"api-version": "1.0"}, "files": entries}).encode()
                self.answer(200, body, "application/vnd.pypi.simple.v1+json")
            else:
                links = "".join(
                    f'<a href="../..{index.file_url}{n}#sha256={self.advertised(n)}">{n}</a>' for n in names
                )
                self.answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

        def advertised(self, name: str) -> str:
            return index.hashes.get(name) or hashlib.sha256(index.files[name]).hexdigest()

        def send_distribution(self, data: bytes) -> None:
            if index.statuses:
                self.answer(index.statuses.pop(0), b"later", "text/plain")
                return
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(match[1]) if match and index.ranges else 0
            body = data[start:]
            self.send_response(206 if match and index.ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            if match and index.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(body[: index.cut_after.pop(0)] if index.cut_after else body)
            self.close_connection = True

        def answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def start_index() -> Iterator[Callable[[], FakeIndex]]:
    servers: list[ThreadingHTTPServer] = []

    def start() -> FakeIndex:
        index = FakeIndex()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        index.url = f"http://127.0.0.1:{server.server_address[1]}"
        return index

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def index(start_index: Callable[[], FakeIndex]) -> FakeIndex:
    return start_index()


@pytest.fixture(autouse=True)
def luthier_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LUTHIER_HOME, no pause between attempts, and nothing of this machine's network set-up."""
    home = tmp_path / "home"
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no netrc
    monkeypatch.setattr("luthier.samples.download._FIRST_PAUSE_S", 0.001)
    return home


@pytest.fixture
def use_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[PipSettings], None]:
    """Stand in for what `pip config list` says (that is tested in test_pip_settings.py)."""
    return lambda settings: monkeypatch.setattr("luthier.samples.distribution.read_pip_settings", lambda: settings)


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def make_zip() -> Callable[[Mapping[str, bytes]], bytes]:
    return zip_bytes


@pytest.fixture
def make_tar() -> Callable[[Mapping[str, bytes]], bytes]:
    return tar_bytes


TINY_TEXT = random.Random(13).randbytes(1_000_000)  # incompressible: a transfer takes several blocks


@pytest.fixture
def tiny_wheel() -> bytes:
    return zip_bytes({"tiny/big.bin": TINY_TEXT, "tiny/a.txt": b"alpha"})


def pin_of(data: bytes, filename: str = "tiny_pkg-1.0-py3-none-any.whl") -> Distribution:
    digest = hashlib.sha256(data).hexdigest()
    return Distribution("pypi", "Tiny.Pkg", "1.0", filename, digest, len(data))


@pytest.fixture
def pin(tiny_wheel: bytes) -> Distribution:
    return pin_of(tiny_wheel)


@pytest.fixture
def make_pin() -> Callable[..., Distribution]:
    return pin_of


@pytest.fixture
def tiny_sample(pin: Distribution, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A registered sample made of the tiny wheel."""
    sample = Sample(
        name="tiny",
        kind="data",
        distribution=pin,
        builder="tiny",
        revision=1,
        licence="none",
        source="here",
        description="A tiny one.",
        citation="none",
        disk=2000,
        columns={"text": "text"},
    )

    def build(archive: Path, folder: Path, scratch: Path) -> dict[str, int]:
        extract(archive, {"tiny/a.txt": "data.arrow", "tiny/big.bin": "deep/big.bin"}, folder, max_bytes=2_000_000)
        return {"rows": 1}

    monkeypatch.setitem(SAMPLES, "tiny", sample)  # type: ignore[arg-type]  # a dict, shown to users as a Mapping
    monkeypatch.setitem(BUILDERS, "tiny", build)  # type: ignore[arg-type]
    return sample
