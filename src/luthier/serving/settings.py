"""What bounds a server: batching, queue, request sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from luthier.errors import LuthierError

BOUNDS: dict[str, tuple[float, float]] = {
    "window_ms": (0, 1_000),
    "max_batch_rows": (1, 65_536),
    "max_queue_rows": (1, 1_000_000),
    "max_request_rows": (1, 65_536),
    "max_body_bytes": (1_024, 256 * 2**20),
    "max_text_characters": (1, 16 * 2**20),
    "drain_seconds": (0, 600),
}


@dataclass(frozen=True)
class ServeSettings:
    """Bounds of a server.

    Attributes:
        window_ms: how long the oldest waiting row waits for others to share its batch, in milliseconds. A batch starts
            at once when it is full, or when rows have waited behind the one before it.
        max_batch_rows: most rows that are scored together.
        max_queue_rows: most rows that wait; a request that would exceed it is answered 429.
        max_request_rows: most rows of one request; more are answered 413.
        max_body_bytes: longest request body; a longer one is answered 413 before it is read to its end.
        max_text_characters: longest text cell; a longer one is a bad row.
        drain_seconds: how long a stopping server waits for requests that are under way.

    Raises:
        LuthierError: a value is out of its bounds.
    """

    window_ms: float = 5.0
    max_batch_rows: int = 256
    max_queue_rows: int = 4_096
    max_request_rows: int = 1_024
    max_body_bytes: int = 8 * 2**20
    max_text_characters: int = 100_000
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), whole=item.type == "int")
        if self.max_request_rows > self.max_queue_rows:
            raise LuthierError(
                f"serve.max_request_rows must be at most serve.max_queue_rows ({self.max_queue_rows}); "
                f"got {self.max_request_rows}.",
                fix="A larger request could never be let in: raise max_queue_rows or lower max_request_rows.",
            )


def _check(name: str, value: object, *, whole: bool) -> None:
    low, high = BOUNDS[name]
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise LuthierError(
            f"serve.{name} must be {kind} from {low:g} to {high:,.0f}; got {value!r}.", fix="Give one in that range."
        )
