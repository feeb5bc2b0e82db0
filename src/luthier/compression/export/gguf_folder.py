"""A bundle that writes text as one GGUF file, answered by llama.cpp before the folder gets its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.artifacts.bundle import Golden, read_goldens
from luthier.compression.export.gguf_file import FILE, write_gguf
from luthier.errors import ArtifactError
from luthier.inference.generating import generate
from luthier.inference.llama_cpp import Continued, Replies, ask
from luthier.inference.predictor import WRITING_TOKENS, Predictor
from luthier.inference.tokens import Token
from luthier.tasks.templates import Template
from luthier.tasks.text_generation import TextGeneration

TOLERANCE = 1e-3
"""How far the log-probability of a token may be from torch's: other kernels, and tables of sines, round otherwise."""


def write_gguf_folder(before: Predictor, folder: Path) -> float:
    """Write `model.gguf`, and compare what llama.cpp makes of it with the bundle.

    The golden examples' prompts must be cut into the same tokens, conversations be written as the same text, and the
    likeliest tokens after each prompt be the same, until two are equally likely.

    Args:
        before: a bundle of the task text-generation, with torch.
        folder: an empty one.

    Returns:
        The largest difference in the log-probability of a token.

    Raises:
        ArtifactError: the bundle does other work, or llama.cpp answers otherwise.
        ModelError: GGUF has no name for its model or its tokenizer, or a package is not installed.
    """
    if not isinstance(before.task, TextGeneration) or before.decoding is None:
        raise ArtifactError(
            f"task {before.entry.task} has no form in GGUF here; text-generation has.",
            where=str(before.folder),
            fix="Export it to transformers, or to onnx where it scores.",
        )
    path = folder / FILE
    write_gguf(before.folder / before.manifest.backbone.folder, before.encoder, before.decoding.end_id, path)
    goldens = read_goldens(before.folder)
    template = before.task.template(before.encoder)
    prompts = [golden.features[0]["input_ids"] for golden in goldens]
    decoding = replace(before.decoding, temperature=0.0, num_beams=1)
    replies = ask(
        path,
        context=before.encoder.max_length + decoding.max_new_tokens,
        texts=_texts(before, goldens),
        chats=[[dict(one) for one in template.messages(_prompt(golden))] for golden in goldens if template.chat],
        prompts=[(ids, decoding.limit(len(ids))) for ids in prompts],
        where=str(before.folder),
    )
    _compare_texts(before, goldens, template, replies)
    features = before.features([golden.inputs for golden in goldens])
    own = [features.row("input_ids", row) for row in range(len(features))]
    wanted = generate(before.scorer.generator(), own, decoding, budget=WRITING_TOKENS)
    pairs = zip(goldens, wanted, replies.continued, strict=True)
    return max(_gap(before, number, *one) for number, one in enumerate(pairs))


def _prompt(golden: Golden) -> Any:
    return golden.inputs["prompt"]


def _texts(before: Predictor, goldens: Sequence[Golden]) -> list[str]:
    """Return the golden examples' prompts as they were read, special tokens among them."""
    return [before.encoder.written(golden.features[0]["input_ids"]) for golden in goldens]


def _compare_texts(before: Predictor, goldens: Sequence[Golden], template: Template, replies: Replies) -> None:
    texts = _texts(before, goldens)
    for special, found in ((False, replies.cut), (True, replies.started)):
        for number, (ids, own) in enumerate(zip(found, before.encoder.ids(texts, special=special), strict=True)):
            if ids != own.tolist():
                raise _mismatch(before, number, goldens[number], "its token ids are others")
    for number, text in enumerate(replies.chats):
        if text != template.render(_prompt(goldens[number])):
            raise _mismatch(before, number, goldens[number], "its chat template writes another text")


def _gap(before: Predictor, number: int, golden: Golden, wanted: Sequence[Token], found: Continued) -> float:
    """Return the largest difference of a token's log-probability; another token must be as likely."""
    logprobs = _in_order(found)
    worst = 0.0
    for place, token in enumerate(wanted):
        same = place < len(found.tokens) and found.tokens[place] == token.id
        value = logprobs.get(place)
        if value is not None:
            worst = max(worst, abs(value - token.logprob))
        if worst > TOLERANCE:
            raise _mismatch(before, number, golden, f"the log-probability of token {place} differs by {worst:.3g}")
        if not same and value is None:
            raise _mismatch(before, number, golden, f"token {place} of its answer is another")
        if not same:
            return worst  # two tokens are equally likely: what follows are two texts
    if len(found.tokens) != len(wanted) or found.ended != wanted[-1].ended:
        raise _mismatch(before, number, golden, "its answer ends elsewhere")
    return worst


def _in_order(found: Continued) -> Mapping[int, float]:
    """Return `{place of a token: its log-probability}`; llama.cpp leaves out parts of characters."""
    places: dict[int, float] = {}
    left = list(found.logprobs)
    for place, token in enumerate(found.tokens):
        if left and left[0][0] == token:
            places[place] = left.pop(0)[1]
    return places


def _mismatch(before: Predictor, number: int, golden: Golden, what: str) -> ArtifactError:
    return ArtifactError(
        f"llama.cpp does not answer golden example {number} ({golden.origin}) as torch does: {what}.",
        where=str(before.folder),
        fix="Serve the bundle as it is, with torch, or export it to transformers.",
    )
