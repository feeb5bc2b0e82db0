from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from echo import EchoPredictor

from luthier.errors import LuthierError
from luthier.inference.loading import load
from luthier.serving.app import create_app
from luthier.serving.server import Server, bound, make_server, serve, url_of

TEXTS = ["the film was good", "bad", "a very boring plot", "great and ok", "not good", "你好 film"] * 5


def call(url: str, method: str = "GET", path: str = "/", body: Any = None) -> tuple[int, dict[str, str], str]:
    """Return (status, headers, text) of a request over a real socket."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def running(predictor: Any, *, host: str = "127.0.0.1") -> Iterator[tuple[str, Server, threading.Thread]]:
    ready, urls = threading.Event(), []

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    with bound(host, 0) as listener:
        server = make_server(create_app(predictor), listener, drain_seconds=20, on_ready=on_ready)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30), "the server never said that it is ready"
            yield urls[0], server, thread
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def test_http_gives_the_numbers_of_predict(bundle: Path) -> None:
    predictor = load(bundle)
    expected = [one.as_dict() for one in predictor.predict(TEXTS)]
    with running(predictor) as (url, _, _):
        status, headers, text = call(url, "POST", "/v1/predict", {"inputs": TEXTS})
        single = [json.loads(call(url, "POST", "/v1/predict", {"inputs": [one]})[2]) for one in TEXTS[:6]]
    answer = json.loads(text)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert answer["model"] == {"name": "tiny", "weights_sha256": predictor.manifest.weights_sha256}
    found = [*answer["predictions"], *(one["predictions"][0] for one in single)]
    for one, other in zip(found, [*expected, *expected[:6]], strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_the_answers_name_neither_the_server_nor_its_libraries() -> None:
    with running(EchoPredictor()) as (url, _, _):
        _, headers, _ = call(url, path="/healthz")
    assert "server" not in headers


def test_a_stop_lets_requests_that_are_under_way_finish() -> None:
    predictor = EchoPredictor()
    answers: list[tuple[int, dict[str, str], str]] = []
    with running(predictor) as (url, server, thread):
        predictor.calls.clear()
        predictor.gate.clear()
        asking = threading.Thread(
            target=lambda: answers.append(call(url, "POST", "/v1/predict", {"inputs": ["under way"]}))
        )
        asking.start()
        while not predictor.calls:
            time.sleep(0.005)
        server.should_exit = True
        time.sleep(0.3)
        assert thread.is_alive()
        predictor.gate.set()
        asking.join(20)
        thread.join(20)
    assert answers[0][0] == 200
    assert json.loads(answers[0][2])["predictions"][0]["label"] == "under way"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_until_a_signal_and_leaves_in_good_order(bundle: Path, sent: signal.Signals) -> None:
    code = (
        "import sys; from luthier.serving.server import serve;"
        "serve(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True)); print('done')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert urlsplit(url).hostname == "127.0.0.1"
        status, _, text = call(url, "POST", "/v1/predict", {"inputs": ["a secret sentence"]})
        assert (status, len(json.loads(text)["predictions"])) == (200, 1)
        assert call(url, path="/readyz")[0] == 200
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "done\n")
    assert "secret" not in err
    assert "Traceback" not in err


def test_a_taken_port_is_said_before_the_bundle_is_read(tmp_path: Path) -> None:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(LuthierError, match=rf"cannot listen on 127.0.0.1:{port}: Address already in use"):
            serve(tmp_path / "no bundle", port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", True), ("192.0.2.1", 0)])
def test_an_address_that_cannot_be_had_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(LuthierError, match=r"^(port must be|cannot listen on)"), bound(host, port):
        pass


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UnicodeError("label empty or too long")]
)
def test_a_host_that_cannot_be_looked_up_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(LuthierError, match=r"^cannot listen on nowhere:0: (Name or|label empty)"), bound("nowhere", 0):
        pass


def test_a_version_six_address_is_written_in_brackets() -> None:
    try:
        with bound("::1", 0) as listener:
            assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
    except LuthierError:
        pytest.skip("no IPv6 loopback here")
    assert socket.has_ipv6
