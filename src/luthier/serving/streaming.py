"""An answer piece by piece as server-sent events, where the bundle writes text.

Every token is one call in the scoring thread, so batches and other streams go on between two of them. Covered: one row
per stream, as many streams as rows in a batch. Not covered: several streams sharing one pass of the model.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from luthier.serving.refusals import RefusedError
from luthier.serving.schemas import parse
from luthier.serving.service import Service


class Streams:
    """The streams of one service.

    Args:
        service: started before a stream is opened.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.open = 0

    def begin(self, body: bytes) -> AsyncIterator[str]:
        """Return the events of a request's one row: `{"text"}` for each piece, then `{"prediction", "model"}`.

        Raises:
            RefusedError: with the HTTP status that says why.
        """
        service = self.service
        service.batcher.admit(1)
        request = parse(body)
        if len(request.inputs) != 1:
            text = f"inputs must have one row to be streamed; got {len(request.inputs)}."
            raise RefusedError(422, "one-row", f"{text} Ask /v1/predict for several.", where="inputs")
        if self.open >= service.settings.max_batch_rows:
            raise RefusedError(429, "overloaded", f"{self.open} answers are being streamed.", retry_after_s=1)
        return self._events(service.row(request.inputs[0]))

    async def _events(self, cells: Mapping[str, Any]) -> AsyncIterator[str]:
        service = self.service
        pieces = service.predictor.stream(cells)
        self.open += 1
        try:
            while (piece := await service.batcher.run_alone(lambda: next(pieces, None))) is not None:
                if isinstance(piece, str):
                    yield _event({"text": piece})
                else:
                    yield _event({"prediction": piece.as_dict(), "model": service.model})
            service.metrics.count_rows("answered", 1)
        finally:
            self.open -= 1


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
