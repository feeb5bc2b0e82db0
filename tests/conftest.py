"""What every test shares: no cache of the user is touched, and no connection leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


class OutsideConnectionError(AssertionError):
    """A test tried to reach beyond loopback."""


@pytest.fixture(autouse=True)
def only_loopback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any connection beyond loopback, except in tests marked `fetches` (they get samples)."""
    if request.node.get_closest_marker("fetches"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0] if isinstance(address, tuple) else ""
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise OutsideConnectionError(f"connection to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LUTHIER_HOME."""
    folder = tmp_path / "luthier-home"
    monkeypatch.setenv("LUTHIER_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT folder."""
    from tests.tiny import build_model

    return build_model(tmp_path_factory.mktemp("models") / "tiny-bert")
