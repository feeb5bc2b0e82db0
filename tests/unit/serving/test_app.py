from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

import httpx
import pytest
from echo import EchoPredictor, client_of
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import LuthierError
from luthier.serving.app import create_app
from luthier.serving.settings import BOUNDS, ServeSettings

JSON = {"content-type": "application/json"}


def ask(*bodies: Any, predictor: EchoPredictor | None = None, **bounds: Any) -> list[httpx.Response]:
    """Return the answers to some bodies, sent one after the other; bytes go as they are."""

    async def go() -> list[httpx.Response]:
        async with client_of(predictor or EchoPredictor(), **bounds) as client:
            return [await post(client, body) for body in bodies]

    return asyncio.run(go())


async def post(client: httpx.AsyncClient, body: Any) -> httpx.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/v1/predict", content=data, headers=JSON)


def get(path: str, predictor: EchoPredictor | None = None) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client_of(predictor or EchoPredictor()) as client:
            return await client.get(path)

    return asyncio.run(go())


def test_texts_and_objects_are_answered_in_order_and_in_full_precision() -> None:
    (answer,) = ask({"inputs": ["a", {"review": "bb"}, {"text": "ccccc"}]})
    assert answer.status_code == 200
    assert answer.json() == {
        "predictions": [
            {"label": text, "probability": len(text) / 3, "scores": {text: len(text) / 3}}
            for text in ("a", "bb", "ccccc")
        ],
        "model": {"name": "echo", "weights_sha256": "ab" * 32},
    }
    assert "0.3333333333333333" in answer.text


def test_no_rows_get_no_answers() -> None:
    predictor = EchoPredictor()
    (answer,) = ask({"inputs": []}, predictor=predictor)
    assert (answer.status_code, answer.json()["predictions"], predictor.calls) == (200, [], [])


def test_two_hundred_requests_at_once_share_batches_and_each_gets_its_own_answer() -> None:
    predictor = EchoPredictor(seconds=0.005)

    async def go() -> list[httpx.Response]:
        async with client_of(predictor, max_batch_rows=64) as client:
            answers = await asyncio.gather(*(post(client, {"inputs": [f"text {i}"]}) for i in range(200)))
            metrics = (await client.get("/metrics")).text
        assert f"luthier_batch_rows_count {len(predictor.calls)}.0" in metrics
        assert "luthier_batch_rows_sum 200.0" in metrics
        return list(answers)

    answers = asyncio.run(go())
    assert [one.json()["predictions"][0]["label"] for one in answers] == [f"text {i}" for i in range(200)]
    assert sum(map(len, predictor.calls)) == 200
    assert len(predictor.calls) <= 20
    assert max(map(len, predictor.calls)) == 64
    assert len(predictor.threads) == 1, "the model must only ever be used by one thread"


REFUSED: list[tuple[Any, int, str, str, str]] = [
    (b"", 400, "not-json", "body", "The body must be JSON"),
    (b"{", 400, "not-json", "body", "EOF while parsing"),
    (b"\xff\xfe", 400, "not-json", "body", "must be JSON"),
    (b'{"inputs": ["\\ud800"]}', 400, "not-json", "body", "must be JSON"),
    (b'{"inputs": ["caf\xe9"]}', 400, "not-json", "body", "must be JSON"),
    (b'{"inputs": ' + b"[" * 100_000, 400, "not-json", "body", "recursion limit"),
    (b"null", 422, "bad-request", "body", "object"),
    ([], 422, "bad-request", "body", "object"),
    ({}, 422, "bad-request", "inputs", "Field required"),
    ({"inputs": "text"}, 422, "bad-request", "inputs", "valid array"),
    ({"inputs": ["a"], "input": ["a"]}, 422, "bad-request", "input", "unknown field"),
    ({"inputs": ["a"], "on_error": "skip"}, 422, "bad-request", "on_error", "'fail' or 'return'"),
    ({"inputs": ["a", ""]}, 422, "bad-row", "inputs[1]", 'inputs[1]: "review" is empty.'),
    ({"inputs": ["a", "b", 3]}, 422, "bad-row", "inputs[2]", "must be text or a mapping; got int."),
    ({"inputs": [None, None]}, 422, "bad-row", "inputs[0]", "(1 more rows are bad.)"),
    (
        {"inputs": [{"review": "a", "x": 1}]},
        422,
        "bad-row",
        "inputs[0]",
        'unknown field "x"; the bundle reads "review"',
    ),
    ({"inputs": ["a" * 101]}, 422, "bad-row", "inputs[0]", "must be at most 100 characters; got 101."),
    ({"inputs": ["a"] * 11}, 413, "too-many-rows", "inputs", "at most 10 rows; got 11."),
    (b'{"inputs": ["' + b"a" * 5_000 + b'"]}', 413, "body-too-large", "body", "at most 4,096 bytes."),
]


@pytest.mark.parametrize(("body", "status", "code", "where", "says"), REFUSED)
def test_what_is_wrong_with_a_request_is_said(body: Any, status: int, code: str, where: str, says: str) -> None:
    bounds = {"max_text_characters": 100, "max_request_rows": 10, "max_body_bytes": 4_096}
    if body == REFUSED[5][0]:
        bounds["max_body_bytes"] = 200_000
    predictor = EchoPredictor()
    (answer,) = ask(body, predictor=predictor, **bounds)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["where"]) == (status, code, where)
    assert says in error["message"]
    assert predictor.calls == []


def test_a_bad_row_may_be_answered_in_its_place() -> None:
    (answer,) = ask({"inputs": ["a", "", "b", 4], "on_error": "return"})
    one, two, three, four = answer.json()["predictions"]
    assert (answer.status_code, one["label"], three["label"]) == (200, "a", "b")
    assert two == {"error": {"code": "bad-row", "message": '"review" is empty.', "where": "inputs[1]"}}
    assert four["error"]["where"] == "inputs[3]"


def test_a_body_is_not_read_beyond_its_bound() -> None:
    """A stream without a length is cut off when it is too long, not when it ends."""
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1
            assert sent < 100, "the server reads on and on"
            yield b"x" * 1024

    async def go() -> httpx.Response:
        async with client_of(EchoPredictor(), max_body_bytes=4_096) as client:
            return await client.post("/v1/predict", content=endless(), headers=JSON)

    assert asyncio.run(go()).status_code == 413
    assert sent <= 6


def test_only_json_is_taken() -> None:
    async def go() -> httpx.Response:
        async with client_of(EchoPredictor()) as client:
            return await client.post("/v1/predict", data={"inputs": "a"})

    answer = asyncio.run(go())
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not-json")


def test_a_full_queue_is_429_with_a_time_to_come_back() -> None:
    predictor = EchoPredictor()

    async def go() -> tuple[list[httpx.Response], str]:
        async with client_of(predictor, max_queue_rows=4, max_request_rows=4, window_ms=0) as client:
            predictor.gate.clear()
            first = asyncio.create_task(post(client, {"inputs": ["first"]}))
            while not predictor.calls:
                await asyncio.sleep(0.001)
            many = [asyncio.create_task(post(client, {"inputs": ["a", "b"]})) for _ in range(10)]
            await asyncio.sleep(0.1)
            ready = await client.get("/readyz")
            predictor.gate.set()
            answers = [await first, *(await asyncio.gather(*many))]
            assert ready.status_code == 200
            return answers, (await client.get("/metrics")).text

    answers, metrics = asyncio.run(go())
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 8
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["code"] == "overloaded"
    assert [answer.status_code for answer in answers].count(200) == 3
    assert 'luthier_http_requests_total{method="POST",route="/v1/predict",status="429"} 8.0' in metrics
    assert 'luthier_rows_total{outcome="refused"} 16.0' in metrics
    assert 'luthier_rows_total{outcome="answered"} 5.0' in metrics


def test_rows_of_a_client_that_left_are_not_scored() -> None:
    """Speaks ASGI by hand: an HTTP client in the same process cannot hang up."""
    predictor = EchoPredictor()

    async def go() -> list[int]:
        async with client_of(predictor, window_ms=0) as client:
            app = client.app
            predictor.gate.clear()
            first = asyncio.create_task(post(client, {"inputs": ["first"]}))
            while not predictor.calls:
                await asyncio.sleep(0.001)
            left = asyncio.Event()
            asked: list[int] = []
            leaving = asyncio.create_task(
                app(scope_of("/v1/predict"), receiver({"inputs": ["left"]}, left), sender(asked))
            )
            await asyncio.sleep(0.05)
            assert app.state.service.batcher.waiting == 1
            left.set()
            await leaving
            assert app.state.service.batcher.waiting == 0
            predictor.gate.set()
            assert (await first).status_code == 200
            return asked

    assert asyncio.run(go()) == [499]
    assert predictor.calls == [["first"]]


def scope_of(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


def receiver(body: Any, left: asyncio.Event) -> Any:
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    return receive


def sender(statuses: list[int]) -> Any:
    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    return send


def test_stopping_answers_what_is_under_way_and_refuses_what_is_new() -> None:
    predictor = EchoPredictor()

    async def go() -> None:
        async with client_of(predictor, window_ms=1_000) as client:
            predictor.gate.clear()
            under_way = [asyncio.create_task(post(client, {"inputs": [f"t{i}"]})) for i in range(5)]
            await asyncio.sleep(0.1)
            closing = asyncio.create_task(client.app.state.service.close())
            await asyncio.sleep(0.05)
            refused = await post(client, {"inputs": ["late"]})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert "retry-after" in refused.headers
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
            predictor.gate.set()
            await closing
            answers = await asyncio.gather(*under_way)
            assert [one.json()["predictions"][0]["label"] for one in answers] == [f"t{i}" for i in range(5)]

    asyncio.run(go())


def test_before_its_start_the_app_says_so_and_after_a_restart_it_answers() -> None:
    predictor = EchoPredictor()
    app = create_app(predictor)

    async def status(path: str, method: str = "GET") -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            return (await client.request(method, path, content=b'{"inputs": ["a"]}', headers=JSON)).status_code

    async def go() -> None:
        assert [await status("/readyz"), await status("/v1/predict", "POST"), await status("/healthz")] == [
            503,
            503,
            200,
        ]
        for _ in range(2):
            async with app.router.lifespan_context(app):
                assert [await status("/readyz"), await status("/v1/predict", "POST")] == [200, 200]
        assert await status("/readyz") == 503

    asyncio.run(go())
    assert len(predictor.calls[0]) == 1, "the warm-up is one row"


def test_a_failing_model_is_a_500_without_a_word_about_why(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = ask({"inputs": ["poison"]}, {"inputs": ["a"]})
    assert (bad.status_code, good.status_code) == (500, 200)
    assert bad.json() == {"error": {"code": "internal", "message": "These rows could not be scored.", "where": None}}
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("path", "status"), [("/nope", 404), ("/v1/predict", 405)])
def test_the_frameworks_own_errors_have_the_same_shape(path: str, status: int) -> None:
    answer = get(path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "where"}


def test_the_page_asks_no_other_host_and_escapes_what_it_shows() -> None:
    predictor = EchoPredictor()
    predictor.manifest.name = "<script>alert(1)</script>"
    predictor.entry.preprocess.columns["text"] = "</script>&\"'"
    answer = get("/docs", predictor)
    assert answer.status_code == 200
    assert "://" not in answer.text
    assert not re.search(r"""(src|href)=["']?(//|http)""", answer.text)
    assert "<script>alert(1)" not in answer.text
    assert answer.text.count("</script>") == 2
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/v1/predict", "/healthz", "/readyz", "/metrics"):
        assert f"<code>{path}</code>" in answer.text


def test_the_root_leads_to_the_page() -> None:
    answer = get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")


def test_the_description_for_programs_has_bodies_answers_and_errors() -> None:
    operation = get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"inputs", "on_error"}
    assert schema["additionalProperties"] is False
    assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "429", "503"}


def test_two_apps_in_one_process_count_for_themselves() -> None:
    async def go() -> tuple[str, str]:
        async with client_of(EchoPredictor()) as one, client_of(EchoPredictor()) as two:
            await post(one, {"inputs": ["a", "b"]})
            return (await one.get("/metrics")).text, (await two.get("/metrics")).text

    one, two = asyncio.run(go())
    assert 'luthier_rows_total{outcome="answered"} 2.0' in one
    assert 'luthier_rows_total{outcome="answered"} 0.0' in two
    assert re.search(r'luthier_build\{model="echo",version="[^"]+",weights_sha256="(ab){32}"\} 1.0', one)
    assert "luthier_queue_rows 0.0" in one


def test_strangers_cannot_make_new_series() -> None:
    async def go() -> str:
        async with client_of(EchoPredictor()) as client:
            for i in range(20):
                await client.request(f"METHOD{i}", f"/path/{i}")
            return (await client.get("/metrics")).text

    found = [line for line in asyncio.run(go()).splitlines() if line.startswith("luthier_http_requests_total")]
    assert found == ['luthier_http_requests_total{method="other",route="other",status="404"} 20.0']


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("review"), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=60)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"inputs": JSON_VALUES}, optional={"on_error": st.sampled_from(["return", "fail", 1])}).map(
        lambda value: json.dumps(value).encode()
    )
)


@settings(max_examples=30, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=10))
def test_no_body_is_a_500(bodies: list[bytes]) -> None:
    for body, answer in zip(bodies, ask(*bodies, window_ms=0), strict=True):
        assert answer.status_code in {200, 400, 422}, (body, answer.text)
        found = answer.json()
        assert set(found) == ({"predictions", "model"} if answer.status_code == 200 else {"error"})


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_settings_out_of_bounds_are_refused_by_name(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1, "3", True, float("nan"), None):
        with pytest.raises(LuthierError, match=rf"serve\.{name} must be a (whole )?number from .*; got"):
            ServeSettings(**{name: value})


def test_a_request_that_could_never_be_let_in_is_refused_at_the_start() -> None:
    with pytest.raises(LuthierError, match=r"serve\.max_request_rows must be at most serve\.max_queue_rows \(10\)"):
        ServeSettings(max_queue_rows=10)


def test_importing_the_app_changes_nothing_in_the_process() -> None:
    code = (
        "import logging, signal, sys; before = (list(logging.root.handlers), signal.getsignal(signal.SIGTERM));"
        "import luthier.serving.app, luthier.serving.server;"
        "assert (list(logging.root.handlers), signal.getsignal(signal.SIGTERM)) == before;"
        "assert 'torch' not in sys.modules, 'a server of another runtime needs no torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
