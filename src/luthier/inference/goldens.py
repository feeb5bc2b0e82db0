"""Golden examples: inputs kept in a bundle with the outputs that the evaluated model gave, and their replay.

A replay compares token ids, raw outputs and decoded answers, in that order, so that a mismatch says which layer
changed: the tokenizer and its limits, the weights and the head, or the decoding and calibration.

Covered: any change of tokenizer, truncation, weights, pooling, label order, temperature that moves an answer on one of
the examples by more than the tolerance. Not covered: a change that no golden example feels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.artifacts.bundle import Golden, Runtime
from luthier.errors import ArtifactError
from luthier.inference.predictor import Predictor

Raw = Mapping[str, Sequence[float]]
WORD = 12  # most characters of a word of the over-long text: a Chinese sentence would be one word
CHINESE = "这部电影的节奏很好，演员的表演也很自然。"
MIXED = "Ｆｕｌｌ－ｗｉｄｔｈ, café, naïve, Straße, İstanbul — “quoted”… 😀"


def probes(texts: Sequence[str], max_length: int) -> list[tuple[str, str]]:
    """Return (origin, text) that feel what plain rows may not: case, accents, length, Chinese, odd characters.

    Args:
        texts: some inputs of the validation split.
        max_length: the length limit in tokens; the over-long text has more words than that, all different in order, so
            that cutting at another side or length changes it. Text without spaces counts a word every few characters.
    """
    whole = " ".join(texts).split() or ["text"]
    words = [word[i : i + WORD] for word in whole for i in range(0, len(word), WORD)]
    long = " ".join(words[(i * 7 + i // len(words)) % len(words)] for i in range(2 * max_length))
    first = texts[0]
    return [
        ("made: over-long", long),
        ("made: upper case", first.upper()),
        ("made: title case", first.title()),
        ("made: accents", _accented(first)),
        ("made: Chinese", CHINESE),
        ("made: mixed characters", MIXED),
        ("made: one word", words[0]),
    ]


def _accented(text: str) -> str:
    marked = "".join(char + "\u0301" if char in "aeiou" else char for char in text)
    return unicodedata.normalize("NFC", marked)


def record(predictor: Predictor, inputs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Golden]:
    """Return golden examples with what a predictor answers.

    Args:
        predictor: the evaluated model.
        inputs: (origin, cells by role).
    """
    cells = [row for _, row in inputs]
    features = predictor.features(cells)
    scored = predictor.answers(features, cells)
    answers = predictor.decode(scored)
    raw = {name: values for name, values in scored.outputs.items() if name != "text"}
    goldens = []
    for number, (origin, row) in enumerate(inputs):
        own = np.flatnonzero(features.group == number)
        goldens.append(
            Golden(
                origin=origin,
                inputs=dict(row),
                features=[{name: features.row(name, int(i)).tolist() for name in features.fields} for i in own],
                raw=[{name: np.ravel(values[i]).astype(float).tolist() for name, values in raw.items()} for i in own],
                prediction=answers[number].as_dict(),
            )
        )
    return goldens


def replay(predictor: Predictor, goldens: Sequence[Golden], runtime: Runtime) -> float:
    """Ask a predictor the golden examples again and compare.

    Returns:
        The largest difference in a decoded number.

    Raises:
        ArtifactError: names the example and the first layer in which it differs.
    """
    where = str(predictor.folder)
    if not goldens:
        raise ArtifactError("has no golden examples, so its answers cannot be checked.", where=where)
    again = record(predictor, [(golden.origin, golden.inputs) for golden in goldens])
    for number, (old, new) in enumerate(zip(goldens, again, strict=True)):
        if old.features != new.features:
            raise _mismatch(
                where, number, old, "its token ids differ: the tokenizer, the length limit or its side changed"
            )
    parted = set()  # examples whose texts part where two tokens are equally likely: they are the same up to there
    for number, (old, new) in enumerate(zip(goldens, again, strict=True)):
        pairs = [_until_tie(a, b, runtime.raw_tolerance) for a, b in zip(old.raw, new.raw, strict=True)]
        parted |= {number} if any(tie for _, _, tie in pairs) else set()
        gap = max(_gap(a, b) for a, b, _ in pairs)
        if gap > runtime.raw_tolerance:
            text = (
                f"its raw outputs differ by {gap:.3g} (allowed {runtime.raw_tolerance:g}): weights or pooling changed"
            )
            raise _mismatch(where, number, old, text)
    return max(
        0.0 if number in parted else _compare(where, number, old, new, runtime)
        for number, (old, new) in enumerate(zip(goldens, again, strict=True))
    )


def difference(one: Sequence[Golden], other: Sequence[Golden]) -> tuple[float, float]:
    """Return how far two recordings of the same inputs are apart: in any raw output, and in any decoded number."""
    raw = decoded = 0.0
    for old, new in zip(one, other, strict=True):
        cuts = [_until_parting(a, b) for a, b in zip(old.raw, new.raw, strict=True)]
        raw = max([raw, *(_gap(a, b) for a, b, _ in cuts)])
        if any(parted for _, _, parted in cuts):
            continue
        before, after = dict(_leaves(old.prediction)), dict(_leaves(new.prediction))
        shared = [path for path in before if path in after and isinstance(before[path], float)]
        decoded = max([decoded, *(abs(before[path] - after[path]) for path in shared)])
    return raw, decoded


def answered(goldens: Sequence[Golden], predictions: Sequence[dict[str, Any]]) -> list[Golden]:
    """Return golden examples with other predictions."""
    pairs = zip(goldens, predictions, strict=True)
    return [golden.model_copy(update={"prediction": prediction}) for golden, prediction in pairs]


def compare(folder: Path, old: Sequence[Golden], new: Sequence[Golden], runtime: Runtime) -> float:
    """Return the largest difference of two recordings in a decoded number.

    Raises:
        ArtifactError: names the first example that is answered otherwise.
    """
    return max(_compare(str(folder), number, *pair, runtime) for number, pair in enumerate(zip(old, new, strict=True)))


def _compare(where: str, number: int, old: Golden, new: Golden, runtime: Runtime) -> float:
    before, after = dict(_leaves(old.prediction)), dict(_leaves(new.prediction))
    if before.keys() != after.keys():
        raise _mismatch(where, number, old, f"it answers {sorted(after)} instead of {sorted(before)}")
    worst = 0.0
    for path, value in before.items():
        if isinstance(value, float) and isinstance(after[path], float):
            worst = max(worst, abs(value - after[path]))
        elif value != after[path] and not _tie(before, runtime.tolerance):
            raise _mismatch(
                where, number, old, f"{path} is {after[path]!r} instead of {value!r}: labels or decoding changed"
            )
    if worst > runtime.tolerance:
        text = f"a number differs by {worst:.3g} (allowed {runtime.tolerance:g}): labels or calibration changed"
        raise _mismatch(where, number, old, text)
    return worst


def _tie(answer: Mapping[str, Any], tolerance: float) -> bool:
    """Return whether the two best numbers of an answer are so close that rounding may swap them."""
    numbers = sorted((value for value in answer.values() if isinstance(value, float)), reverse=True)
    return len(numbers) > 2 and numbers[1] - numbers[2] <= 2 * tolerance


def _until_tie(old: Raw, new: Raw, tolerance: float) -> tuple[Raw, Raw, bool]:
    """Return two raw outputs, cut where two equally likely tokens part, and whether they were cut.

    Rounding on another processor may choose the other one of two such tokens, and what follows is another text.
    """
    apart = _parting(old, new)
    if apart is None or abs(old["logprob"][apart] - new["logprob"][apart]) > tolerance:
        return old, new, False
    before, after = ({name: raw[name][:apart] for name in ("tokens", "logprob")} for raw in (old, new))
    return before, after, True


def _until_parting(old: Raw, new: Raw) -> tuple[Raw, Raw, bool]:
    """Return the log-probabilities of two texts up to the token where they part, and whether they do."""
    apart = _parting(old, new)
    if apart is None:
        return old, new, False
    before, after = ({"logprob": raw["logprob"][: apart + 1]} for raw in (old, new))
    return before, after, True


def _parting(old: Raw, new: Raw) -> int | None:
    """Return the place of the first token in which two texts of one length differ; None where there is none."""
    if "tokens" not in old or "logprob" not in old or len(old["tokens"]) != len(new.get("tokens", ())):
        return None
    apart = np.flatnonzero(np.asarray(old["tokens"]) != np.asarray(new["tokens"]))
    return int(apart[0]) if len(apart) else None


def _gap(old: Raw, new: Raw) -> float:
    if old.keys() != new.keys() or any(len(old[name]) != len(new[name]) for name in old):
        return float("inf")
    pairs = [(np.asarray(old[name]), np.asarray(new[name])) for name in old]
    return max((float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs), default=0.0)


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list):
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, f"{path}[{key}]")]
    return [(path, value)]


def _mismatch(where: str, number: int, golden: Golden, what: str) -> ArtifactError:
    return ArtifactError(
        f"golden example {number} ({golden.origin}) is not answered as the evaluated model answered it: {what}.",
        where=where,
        fix="Do not serve this bundle; make it again with `luthier run`.",
    )
