"""What every test shares: no cache of the user is touched, and no connection leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Generator
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


# --- LUTHIER_REQUIRE_BROWSER=1: a browser test that is skipped has failed, and some must have run ---------------------


def _required(item: pytest.Item) -> bool:
    return os.environ.get("LUTHIER_REQUIRE_BROWSER") == "1" and item.get_closest_marker("browser") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _required(item):
        report.outcome = "failed"
        report.longrepr = f"skipped although LUTHIER_REQUIRE_BROWSER=1: {report.longrepr}"
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    option = session.config.option
    if os.environ.get("LUTHIER_REQUIRE_BROWSER") != "1" or option.keyword or option.markexpr:
        return
    if not any(_required(item) for item in session.items):
        raise pytest.UsageError("LUTHIER_REQUIRE_BROWSER=1, but no browser test was collected")
