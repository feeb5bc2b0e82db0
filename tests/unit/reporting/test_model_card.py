from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.unit.reporting import made_run
from tests.unit.reporting.made_run import HOSTILE, WEIGHTS

from luthier.reporting.card import model_card
from luthier.reporting.markdown import code, inline


def card(source: str = "sample:minilm", labels: tuple[str, ...] = ("negative", "positive"), **changes: Any) -> str:
    parts: dict[str, Any] = {
        "manifest": made_run.manifest(source, labels),
        "evaluation": made_run.evaluation(labels),
        "check": made_run.check(labels),
        "plan": made_run.plan(),
    }
    return model_card(**(parts | changes))


def front_matter(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_front_matter_holds_what_is_certain() -> None:
    front = front_matter(card())
    assert "license" not in front  # the project states none
    assert "language" not in front  # Latin letters are written by many languages
    assert "base_model" not in front  # a sample's name means nothing to a hub
    assert front["pipeline_tag"] == "text-classification"
    assert front["metrics"][:2] == ["accuracy", "balanced_accuracy"]
    assert front["tags"] == ["luthier", "bert", "text-classification"]


def test_a_hub_reads_the_card() -> None:
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card("acme/small-bert", plan=made_run.plan(bundle={"licence": "Apache-2.0"})))
    assert (read.data.license, read.data.base_model) == ("apache-2.0", "acme/small-bert")
    assert read.data.model_name == "movie-sentiment"
    results = {one.metric_type: one.metric_value for one in read.data.eval_results}
    expected = {name: value.value for name, value in made_run.model_metrics().items()}
    assert results == pytest.approx(expected)
    assert {one.dataset_name for one in read.data.eval_results} == {"sample:movie-reviews"}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("Our own: no, 1", {"license": "other", "license_name": "Our own: no, 1"}),
    ],
)
def test_licences(licence: str, expected: dict[str, str]) -> None:
    text = card(plan=made_run.plan(bundle={"licence": licence}))
    assert {key: value for key, value in front_matter(text).items() if key.startswith("license")} == expected
    assert f"These weights: {licence}, as the project states." in text


def test_the_licence_of_samples_is_known_and_of_others_is_not() -> None:
    text = card()
    assert "`sample:minilm`: Apache-2.0" in text
    assert "Rows, `sample:movie-reviews`: MIT" in text
    other = card("acme/small-bert")
    assert "`acme/small-bert`: its licence is not known to Luthier." in other
    assert "the project states no licence" in other


def test_chinese_rows_make_a_chinese_model_and_japanese_ones_do_not() -> None:
    def with_scripts(scripts: dict[str, float]) -> dict[str, Any]:
        check = made_run.check()
        train = check.splits["train"].model_copy(update={"scripts": scripts})
        return front_matter(card(check=check.model_copy(update={"splits": {**check.splits, "train": train}})))

    assert with_scripts({"Han": 0.93, "Latin": 0.07})["language"] == ["zh"]
    assert "language" not in with_scripts({"Han": 0.55, "Hiragana": 0.4})


def test_results_limits_and_hashes_are_in_words() -> None:
    text = card().replace("\u202f", " ")
    assert "| **Accuracy** | 87.1 % (85.6 to 88.5) | 50.4 % (48.3 to 52.5) | 79.8 % (78.1 to 81.5) |" in text
    assert "87.1 % of 2,117 test rows right (85.6 to 88.5). That is 7.3 points over TF-IDF (5.5 to 9.0)." in text
    assert text.index("Covered:") < text.index("Not covered:")
    assert "what stands beyond 64 tokens: it is cut off at the right end (53 of 2,117 test rows)" in text
    assert 'luthier.load("path/to/bundle")' in text
    assert 'pipeline("text-classification", model="path/to/bundle/model")' in text
    assert "temperature 1.63" in text
    assert f"`{WEIGHTS}`" in text


def test_every_table_row_has_the_cells_of_its_head() -> None:
    labels = ("a|b", "c\nd", "`", HOSTILE)
    lines = [line for line in card(labels=labels).splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert set(widths) == {6, 5}


def test_texts_of_users_stay_texts() -> None:
    text = card(labels=(HOSTILE, "positive"))
    outside_code = re.sub(r"`[^`]*`", "", text)
    assert "<script" not in outside_code
    assert "<img" not in outside_code


def test_inline_and_code() -> None:
    assert inline("a *b*\n_c_ | <d> & [e](f)") == r"a \*b\* \_c\_ \| &lt;d&gt; &amp; \[e\](f)"
    assert code("plain-name") == "`plain-name`"
    assert code("tick`ed") == r"tick\`ed"
    assert code("a|b") == r"a\|b"


def test_a_task_that_no_hub_knows_has_no_tag_and_no_pipeline() -> None:
    manifest = made_run.manifest()
    entry = manifest.entry_points[0].model_copy(update={"task": "wine-grading", "calibration": {}, "targets": {}})
    text = card(manifest=manifest.model_copy(update={"entry_points": [entry]}))
    assert "pipeline_tag" not in front_matter(text)
    assert "from transformers import pipeline" not in text
    assert "It answers with one of" not in text
