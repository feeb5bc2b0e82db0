"""What every test shares: no cache of the user is touched, and no connection leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from luthier.inference.graphs import available_threads

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
if _workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # they share the cores; torch reads it
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_threads() // _workers)))


class OutsideConnectionError(AssertionError):
    """A test tried to reach beyond loopback."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="tests/chaos: a fault at every call")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts: each takes about 2 GiB."""
    return min(4, available_threads())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that take many minutes, unless `make test-all` asks for them; `--long` has no time limit."""
    for item in items if config.getoption("--long") else ():
        item.add_marker(pytest.mark.timeout(0))
    if os.environ.get("LUTHIER_EVERY_CELL") == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(autouse=True)
def only_loopback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Fail on any connection or look-up beyond loopback, swallowed or not, except in tests marked `fetches`."""
    if request.node.get_closest_marker("fetches"):
        yield
        return
    attempts: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _refuse_outside(address[0] if isinstance(address, tuple) else "", attempts)
        connect(self, address)

    def guarded_look_up(host: object, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        if not _is_address(name):  # to look up an address asks nobody
            _refuse_outside(name, attempts)
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    assert attempts == [], "something tried to reach beyond loopback"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refuse_outside(host: str, attempts: list[str]) -> None:
    inside = host in {"localhost", ""} or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
    if not inside:
        attempts.append(host)
        raise OutsideConnectionError(f"connection to {host}")


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
