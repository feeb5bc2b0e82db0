"""The HTTP app: routes, body bounds, and the shape of every error. The factory is pure: it starts and binds nothing.

Guards (authentication, admission, masking) go around it as ASGI middleware, or between route and service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from luthier.inference.predictor import Predictor
from luthier.serving.metrics import CONTENT_TYPE, MetricsMiddleware
from luthier.serving.page import Page
from luthier.serving.refusals import RefusedError
from luthier.serving.schemas import ErrorAnswer, PredictAnswer, PredictRequest
from luthier.serving.service import Service
from luthier.serving.settings import ServeSettings
from luthier.serving.streaming import Streams
from luthier.version import __version__

CLIENT_GONE = 499  # nobody reads it; the metrics count it
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "the body is not JSON"},
    413: {"model": ErrorAnswer, "description": "the body or the number of rows is too large"},
    415: {"model": ErrorAnswer, "description": "the body is not announced as application/json"},
    422: {"model": ErrorAnswer, "description": "the body is not a request, or a row cannot be read"},
    429: {"model": ErrorAnswer, "description": "too many rows wait; the header Retry-After says for how long"},
    503: {"model": ErrorAnswer, "description": "the server is starting or stopping"},
}


def create_app(predictor: Predictor, *, settings: ServeSettings | None = None) -> FastAPI:
    """Return the app of one predictor.

    The app scores between its lifespan's start and end; before and after it answers 503. `app.state.service` is the
    service behind the routes.

    Args:
        predictor: verified, from `inference.loading.load`; the app alone may use it.
        settings: bounds; default `ServeSettings()`.
    """
    service = Service(predictor, settings or ServeSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.open()
            yield
        finally:
            await service.close()

    app = FastAPI(
        title=f"Luthier: {predictor.manifest.name}",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    _add_predict(app, service)
    if predictor.decoding is not None:
        _add_stream(app, Streams(service))
    _add_health(app, service)
    _add_pages(app, service)
    _add_errors(app)
    app.add_middleware(MetricsMiddleware, metrics=service.metrics, routes=[route.path for route in app.routes])  # type: ignore[attr-defined]
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    body = {"required": True, "content": {"application/json": {"schema": PredictRequest.model_json_schema()}}}

    @app.post(
        "/v1/predict",
        summary="Answer some rows",
        responses={200: {"model": PredictAnswer}, **REFUSALS},
        openapi_extra={"requestBody": body},
    )
    async def predict(request: Request) -> Response:
        service.batcher.admit(0)
        text = await read_body(request, service.settings.max_body_bytes)
        answer = asyncio.create_task(service.predict(text))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return JSONResponse(answer.result()) if answer.done() else Response(status_code=CLIENT_GONE)
        finally:
            answer.cancel()
            gone.cancel()


def _add_stream(app: FastAPI, streams: Streams) -> None:
    body = {"required": True, "content": {"application/json": {"schema": PredictRequest.model_json_schema()}}}
    events = {"content": {"text/event-stream": {}}, "description": "`data:` lines: `{text}` ..., then `{prediction}`"}

    @app.post(
        "/v1/stream",
        summary="Answer one row piece by piece",
        response_class=StreamingResponse,
        responses={200: events, **REFUSALS},
        openapi_extra={"requestBody": body},
    )
    async def stream(request: Request) -> Response:
        text = await read_body(request, streams.service.settings.max_body_bytes)
        return StreamingResponse(streams.begin(text), media_type="text/event-stream")


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", summary="Whether the bundle is verified and warm", responses={503: REFUSALS[503]})
    async def readyz() -> Response:
        if not service.ready:
            raise RefusedError(503, "not-ready", "The server is starting or stopping.", retry_after_s=1)
        return JSONResponse({"status": "ready", "model": service.model})

    @app.get("/metrics", summary="Counters in Prometheus' text form", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI, service: Service) -> None:
    page = Page(title=app.title, columns=service.columns, example=service.example(), routes=_routes(app))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page.html, headers=page.headers)

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("docs")  # relative, so that it holds behind a proxy's path


def _routes(app: FastAPI) -> list[tuple[str, str, str]]:
    """Return (method, path, summary) of every documented route."""
    return [
        (method.upper(), path, operation["summary"])
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return JSONResponse(error.body(), error.status, error.headers())

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        body = RefusedError(error.status_code, phrase.lower().replace(" ", "-"), f"{phrase}.").body()
        return JSONResponse(body, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(RefusedError(422, "bad-request", "The request is not what the route reads.").body(), 422)

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        return JSONResponse(RefusedError(500, "internal", "The server failed; its log says where.").body(), 500)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return a request's body, of which at most `max_bytes` are ever held.

    Raises:
        RefusedError: 415 where it is not announced as JSON, 413 where it is longer.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        text = f'content-type must be application/json; got "{kind[:100]}".'
        raise RefusedError(415, "not-json", text, where="content-type")
    announced = request.headers.get("content-length", "")
    too_long = RefusedError(413, "body-too-large", f"The body must be at most {max_bytes:,} bytes.", where="body")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_long
    parts = bytearray()
    try:
        async for part in request.stream():
            parts += part
            if len(parts) > max_bytes:
                raise too_long
    except ClientDisconnect:
        raise RefusedError(CLIENT_GONE, "client-gone", "The client left.") from None
    return bytes(parts)


async def _gone(request: Request) -> None:
    """Return when the client has left; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
