"""A stand-in for the predictor: HTTP behaviour is tested here, and a model would only make it slow and inexact.

It answers a row's label with the text itself, so that an answer handed to the wrong request is seen.
"""

import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import httpx

from luthier.errors import DataError
from luthier.serving.app import create_app
from luthier.serving.settings import ServeSettings


@dataclass(frozen=True)
class EchoAnswer:
    text: str

    def as_dict(self):
        return {"label": self.text, "probability": len(self.text) / 3, "scores": {self.text: len(self.text) / 3}}


class EchoPredictor:
    """The part of `Predictor` that serving uses. `calls` holds the rows of each scoring, `threads` who scored."""

    def __init__(self, *, seconds=0.0):
        self.manifest = SimpleNamespace(name="echo", weights_sha256="ab" * 32)
        self.entry = SimpleNamespace(preprocess=SimpleNamespace(columns={"text": "review"}))
        self.inputs = ("text",)
        self.required = ("text",)
        self.task = SimpleNamespace(probe=lambda text: {"text": text})
        self.decoding = None
        self.seconds = seconds
        self.calls = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()

    def cells(self, item, place):
        if isinstance(item, str):
            item = {"text": item}
        if not isinstance(item, Mapping):
            raise DataError(f"must be text or a mapping; got {type(item).__name__}.", where=place)
        column = self.entry.preprocess.columns["text"]
        cell = item.get(column, item.get("text"))
        if not isinstance(cell, str) or not cell.strip():
            raise DataError(f'"{column}" is empty.', where=place)
        return {"text": cell}

    def predict_cells(self, cells):
        self.calls.append([row["text"] for row in cells])
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(20), "the test never opened the gate"
        time.sleep(self.seconds)
        if any(row["text"] == "poison" for row in cells):
            raise RuntimeError("a secret text")
        return [EchoAnswer(row["text"]) for row in cells]

    def predict(self, inputs):
        return self.predict_cells([self.cells(item, "input") for item in inputs])


@asynccontextmanager
async def client_of(predictor, **settings) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an app whose lifespan has run; the calls of its warm-up are forgotten."""
    app = create_app(predictor, settings=ServeSettings(**settings))
    async with app.router.lifespan_context(app):
        predictor.calls.clear()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            client.app = app
            yield client
