"""The one sentence that a reader takes away: how good, and how far ahead of the best simple model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from luthier.artifacts.evaluation import Baseline, EvalReport, MetricValue
from luthier.reporting import numbers
from luthier.reporting.words import Words

Standing = Literal["ahead", "level", "behind", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What an evaluation says, in words.

    Attributes:
        quality: the headline metric with its interval.
        comparison: against the strongest baseline; empty without one.
        standing: whether the interval of the lead lies above, around or below 0.
        rival: the strongest baseline, or None.
        lead: the lead over it, positive where this model is better.
    """

    quality: str
    comparison: str
    standing: Standing
    rival: Baseline | None
    lead: MetricValue | None

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.quality} {self.comparison}".strip()


def verdict(evaluation: EvalReport, words: Words) -> Verdict:
    """Return what an evaluation says, in a language."""
    rival = strongest(evaluation)
    if rival is None:
        return Verdict(_quality(evaluation, words), "", "unknown", None, None)
    lead = _better_is_positive(rival.lead, numbers.look_of(evaluation.headline, words.language))
    standing = _standing(lead)
    return Verdict(
        _quality(evaluation, words), _comparison(evaluation, rival, lead, standing, words), standing, rival, lead
    )


def strongest(evaluation: EvalReport) -> Baseline | None:
    """Return the baseline with the best headline metric; None where none has one."""
    name = evaluation.headline
    found = [one for one in evaluation.baselines if name in one.metrics and one.metrics[name].value is not None]
    sign = -1 if numbers.look_of(name, "en").greater_is_better is False else 1
    return max(found, key=lambda one: sign * (one.metrics[name].value or 0.0), default=None)


def _quality(evaluation: EvalReport, words: Words) -> str:
    look = numbers.look_of(evaluation.headline, words.language)
    value = evaluation.metrics.get(evaluation.headline, MetricValue(value=None))
    interval = numbers.interval_text(value, look, words)
    key = "verdict.accuracy" if evaluation.headline == "accuracy" else "verdict.other"
    return words(
        key if interval else f"{key}.plain",
        metric=look.label,
        value=numbers.metric_text(value.value, look),
        rows=numbers.count(evaluation.rows),
        interval=interval,
    )


def _better_is_positive(lead: MetricValue, look: numbers.MetricLook) -> MetricValue:
    if look.greater_is_better is not False or lead.value is None:
        return lead
    flipped = None if lead.interval is None else (-lead.interval[1], -lead.interval[0])
    return MetricValue(value=-lead.value, interval=flipped)


def _standing(lead: MetricValue) -> Standing:
    if lead.value is None or lead.interval is None:
        return "unknown"
    return "ahead" if lead.interval[0] > 0 else "behind" if lead.interval[1] < 0 else "level"


def _comparison(evaluation: EvalReport, rival: Baseline, lead: MetricValue, standing: Standing, words: Words) -> str:
    if lead.value is None:
        return ""
    look = numbers.look_of(evaluation.headline, words.language)
    shown = MetricValue(value=-lead.value, interval=_negated(lead.interval)) if standing == "behind" else lead
    return words(
        "verdict.plain" if standing == "unknown" else f"verdict.{standing}",
        lead=numbers.difference(shown.value, look, words),
        baseline=words.named("baseline", rival.name),
        interval=numbers.interval_text(shown, look, words),
    )


def _negated(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (-interval[1], -interval[0])
