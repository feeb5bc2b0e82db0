"""What goes over the wire: requests, answers and errors.

Rows are checked one by one elsewhere, so that one bad row can be named.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from luthier.serving.refusals import RefusedError

Row = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "the text, where the bundle reads one column"},
                {"type": "object", "additionalProperties": True, "description": "cells by column name"},
            ]
        }
    ),
]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PredictRequest(_Wire):
    """The body of `POST /v1/predict`."""

    inputs: list[Row] = Field(
        description="rows to answer, in order: texts, or objects with the columns that the bundle reads",
        examples=[["A wonderful film."]],
    )
    on_error: Literal["fail", "return"] = Field(
        default="fail",
        description="what a row that cannot be read does: `fail` refuses the whole request and names the row, `return` "
        "puts `{error: ...}` in its place and answers the others",
    )


class ModelName(_Wire):
    """Which weights answered."""

    name: str
    weights_sha256: str


class ErrorBody(_Wire):
    """What went wrong."""

    code: str = Field(description="for programs: a word that does not change")
    message: str = Field(description="for people")
    where: str | None = Field(description="the part of the request it is about, such as `inputs[3]`")


class ErrorAnswer(_Wire):
    """Every answer that is not a success."""

    error: ErrorBody


class PredictAnswer(_Wire):
    """The answer of `POST /v1/predict`."""

    predictions: list[dict[str, Any]] = Field(
        description="one per row, in order; or `{error: ...}` for a bad row when `on_error` is `return`",
        examples=[[{"label": "positive", "probability": 0.98, "scores": {"negative": 0.02, "positive": 0.98}}]],
    )
    model: ModelName


def parse(body: bytes) -> PredictRequest:
    """Return the request in a body.

    Raises:
        RefusedError: 400 where it is not JSON, 422 where it is not a request.
    """
    try:
        return PredictRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            message = first["msg"].removeprefix("Invalid JSON: ")
            raise RefusedError(400, "not-json", f"The body must be JSON; {message}.", where="body") from None
        where = ".".join(map(str, first["loc"])) or "body"
        message = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
        raise RefusedError(422, "bad-request", f"{where[:100]}: {message}.", where=where[:100]) from None
