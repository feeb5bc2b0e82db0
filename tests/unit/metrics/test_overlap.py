"""Counts that add up, against sacreBLEU's own figures, and ROUGE against hand-made ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from luthier.metrics.generation import AnswerScores, bleu, chrf, rouge_of, score_answers
from luthier.metrics.intervals import bootstrap
from luthier.metrics.registry import METRICS

ENGLISH = ["Enter a valid value.", "Please enter the same value again.", "Log out", "%(name)s was changed; it's new."]
CHINESE = ["请输入一个有效的值。", "请再次输入相同的值。", "注销", "%(name)s 已更改。"]


def disturbed(texts: list[str], rows: int, seed: int) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    truth = [draw.choice(texts) for _ in range(rows)]
    answers = []
    for text in truth:
        pieces = text.split(" ") if " " in text else list(text)
        kept = [piece for piece in pieces if draw.random() > 0.25]
        answers.append(("" if text in CHINESE else " ").join(kept))
    return answers, truth


def scores(answers: list[str], truth: list[str]) -> AnswerScores:
    return score_answers(answers, truth, [True] * len(truth))


CASES = {
    "english": (*disturbed(ENGLISH, 40, 1), "13a"),
    "chinese": (*disturbed(CHINESE, 40, 2), "zh"),
    "nothing right": (["x y z w"], ["a b c d"], "13a"),
    "short": (["Log out"], ["Log out"], "13a"),
    "empty answer": (["", "Log out now please"], ["Log in", "Log out now please"], "13a"),
    "longer": (["the cat sat on the mat and sat"], ["the cat sat on the mat"], "13a"),
}


@pytest.mark.parametrize("name", CASES)
def test_bleu_and_chrf_are_those_of_sacrebleu(name: str) -> None:
    answers, truth, tokens = CASES[name]
    found = scores(answers, truth)
    assert bleu(found) == pytest.approx(BLEU(tokenize=tokens).corpus_score(answers, [truth]).score, abs=1e-9)
    assert chrf(found) == pytest.approx(CHRF().corpus_score(answers, [truth]).score, abs=1e-9)


def test_the_cases_are_not_all_alike() -> None:
    values = [bleu(scores(answers, truth)) for answers, truth, _ in CASES.values()]
    assert 0.0 in values
    assert any(value and 20 < value < 95 for value in values)


def test_a_resample_is_the_figure_of_its_rows() -> None:
    answers, truth, _ = CASES["english"]
    found = scores(answers, truth)
    draw = np.random.default_rng(0)
    for metric, reference in ((METRICS["bleu"], BLEU()), (METRICS["chrf"], CHRF())):
        assert metric.statistic is not None
        statistic = metric.statistic(found)
        for _ in range(5):
            rows = draw.integers(0, len(truth), len(truth))
            weights = np.bincount(rows, minlength=len(truth)).astype(float)[:, None]
            wanted = reference.corpus_score([answers[i] for i in rows], [[truth[i] for i in rows]]).score
            assert float(statistic(weights)[0]) == pytest.approx(wanted, abs=1e-9)
    interval = bootstrap(found, [METRICS["bleu"]], resamples=200)["bleu"]
    value = bleu(found)
    assert interval is not None
    assert value is not None
    assert interval[0] < value < interval[1]


def test_rouge_by_hand() -> None:
    one, two, longest = rouge_of("the cat sat on the mat", "The cat is on the mat!")
    assert one == pytest.approx(2 * 5 / 12)  # the, cat, on, the, mat
    assert two == pytest.approx(2 * 3 / 10)  # the cat, on the, the mat
    assert longest == pytest.approx(2 * 5 / 12)
    assert rouge_of("the the the", "the")[0] == pytest.approx(2 * 1 / 4)  # as often as in both
    assert rouge_of("b a", "a b") == (1.0, 0.0, 0.5)
    assert rouge_of("好的", "好") == pytest.approx((2 / 3, 0.0, 2 / 3))
    assert rouge_of("a", "b") == (0.0, 0.0, 0.0)
    assert rouge_of("a", "a") == (1.0, 1.0, 1.0)
    assert rouge_of("?", "!") == (1.0, 1.0, 1.0)
