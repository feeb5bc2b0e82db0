from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
from tests.unit.reporting import made_run

import luthier.reporting
from luthier.artifacts.evaluation import MetricValue
from luthier.data.check import FINDINGS
from luthier.evaluation.baselines import BASELINES
from luthier.evaluation.kinds import EVALUATIONS
from luthier.reporting import numbers
from luthier.reporting.numbers import look_of
from luthier.reporting.verdict import strongest, verdict
from luthier.reporting.words import CHINESE, ENGLISH, WORDS, words

THIN = "\u202f"


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_keys_and_places() -> None:
    assert list(ENGLISH) == list(CHINESE)
    assert {key: places(text) for key, text in ENGLISH.items()} == {key: places(text) for key, text in CHINESE.items()}


def test_chinese_is_chinese() -> None:
    same = {"and", "baseline.bm25", "baseline.tfidf", "per_class.f1", "run.version"} | {
        key for key in CHINESE if key.startswith("hardware.")
    }
    assert [key for key, text in CHINESE.items() if not re.search("[\u4e00-\u9fff]", text) and key not in same] == []


def test_no_word_is_dead() -> None:
    folder = Path(luthier.reporting.__file__).parent
    files = [path for path in (*folder.rglob("*.py"), *folder.rglob("*.html")) if path.name != "words.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files).replace("'", '"')
    composed = (
        "verdict.",
        "curves.",
        "mistakes.",
        "label_issues.",
        "largest_errors.",
    )  # put together from parts that stand apart

    def used(key: str) -> bool:
        family, first = key.rpartition(".")[0], key.partition(".")[0]
        spellings = (f'"{key}"', f'"{family}.{{', f'named("{first}"', f'named("{family}"')
        return key.startswith(composed) or any(spelling in source for spelling in spellings)

    assert [key for key in ENGLISH if not used(key)] == []
    assert not used("no.such_key")


@pytest.mark.parametrize("language", WORDS)
def test_what_others_register_has_a_word(language: str) -> None:
    table = WORDS[language]
    assert {f"finding.{code}" for code in FINDINGS} <= set(table)
    baselines = {*BASELINES, *(name for kind in EVALUATIONS.values() for name in kind.baselines)}
    assert {f"baseline.{name}" for name in baselines} <= set(table)
    assert words(language).named("baseline", "of another package") == "of another package"


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.count(2117), "2,117"),
        (numbers.percent(0.87106), f"87.1{THIN}%"),
        (numbers.percent(-0.5, 0), f"\u221250{THIN}%"),
        (numbers.percent(None), "\u2013"),
        (numbers.percent(float("nan")), "\u2013"),
        (numbers.small_share(0.0), f"0.0{THIN}%"),
        (numbers.small_share(0.0001), f"< 0.1{THIN}%"),
        (numbers.plain(-0.12345), "\u22120.123"),
        (numbers.seconds(59.9, words("en")), f"59.9{THIN}s"),
        (numbers.seconds(59.99, words("en")), f"1{THIN}min 0{THIN}s"),
        (numbers.seconds(125.4, words("zh")), "2 分 5 秒"),
        (numbers.seconds(7320, words("en")), f"2{THIN}h 2{THIN}min"),
        (numbers.mebibytes(900), f"900{THIN}MiB"),
        (numbers.mebibytes(1536), f"1.5{THIN}GiB"),
        (numbers.millions(22_713_986), f"22.7{THIN}M"),
        (numbers.millions(950), "950"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


def test_metrics_are_shown_as_the_registry_says() -> None:
    accuracy, loss = look_of("accuracy", "en"), look_of("log_loss", "zh")
    assert (accuracy.label, accuracy.percent, accuracy.greater_is_better) == ("Accuracy", True, True)
    assert (loss.label, loss.percent, loss.greater_is_better) == ("对数损失", False, False)
    value = MetricValue(value=0.871, interval=(0.8563, 0.8847))
    assert numbers.interval_text(value, accuracy, words("en")) == "85.6 to 88.5"
    assert numbers.interval_text(value, loss, words("zh")) == "0.856 至 0.885"
    assert numbers.interval_text(MetricValue(value=0.5), accuracy, words("en")) == ""


# --- verdict --------------------------------------------------------------------------------------------------------


def with_lead(lead: MetricValue, headline: str = "accuracy") -> str:
    baseline = made_run.baselines()[1].model_copy(update={"lead": lead})
    report = made_run.evaluation(baselines=[made_run.baselines()[0], baseline], headline=headline)
    return verdict(report, words("en")).comparison.replace(THIN, " ")


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.0732, (0.0553, 0.0904), "That is 7.3 points over TF-IDF (5.5 to 9.0)."),
        (0.004, (-0.006, 0.014), "Not shown to be better than TF-IDF: the lead is 0.4 points (\u22120.6 to 1.4)."),
        (-0.05, (-0.08, -0.02), "That is 5.0 points behind TF-IDF (2.0 to 8.0): the simpler model is the better one."),
        (0.05, None, "That is 5.0 points over TF-IDF."),
        (None, None, ""),
    ],
)
def test_the_verdict_says_what_the_interval_allows(
    value: float | None, interval: tuple[float, float] | None, expected: str
) -> None:
    assert with_lead(MetricValue(value=value, interval=interval)) == expected


def test_a_lower_loss_is_a_lead() -> None:
    text = with_lead(MetricValue(value=-0.121, interval=(-0.15, -0.09)), headline="log_loss")
    assert text == "That is 0.121 over TF-IDF (0.090 to 0.150)."


def test_the_rival_is_the_best_baseline_by_the_headline() -> None:
    names = {name: strongest(made_run.evaluation(headline=name)) for name in ("accuracy", "log_loss", "pr_auc")}
    assert {name: found and found.name for name, found in names.items()} == dict.fromkeys(names, "tfidf")
    assert strongest(made_run.evaluation(baselines=[])) is None
    assert verdict(made_run.evaluation(baselines=[]), words("en")).comparison == ""
