"""Answers that are not a success, all of one shape: `{"error": {"code", "message", "where"}}`."""

from __future__ import annotations

import math
from typing import Any


class RefusedError(Exception):
    """A request is not answered; becomes an HTTP answer and is no bug.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people; never holds a traceback.
        where: the part of the request it is about.
        retry_after_s: seconds after which to try again.
    """

    def __init__(
        self, status: int, code: str, message: str, *, where: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON."""
        return {"error": {"code": self.code, "message": self.message, "where": self.where}}

    def headers(self) -> dict[str, str]:
        """Return the headers that go with the status."""
        return {} if self.retry_after_s is None else {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}
