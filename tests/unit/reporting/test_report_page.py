from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.reporting import made_run
from tests.unit.reporting.made_run import HOSTILE, TEXTS, WEIGHTS, history, report_data

from luthier.artifacts.evaluation import EvalReport, MetricValue
from luthier.errors import ArtifactError
from luthier.reporting.contents import ReportData, read_run
from luthier.reporting.report import render, write_report

SECTIONS = [
    *("next", "confusion", "per_class", "slices", "calibration", "mistakes", "label_issues"),
    *("training", "data", "findings", "metrics", "run"),
]
CHARTS = {"line": 4, "bars": 5, "confusion": 1, "reliability": 1, "lengths": 1}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text outside script and style."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def drawings(html: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg role.*?</svg>", html, flags=re.DOTALL)]


@pytest.fixture(scope="module")
def english() -> str:
    return render(report_data())


def test_every_section_stands_in_the_order_a_reader_wants(english: str) -> None:
    page = Page(english)
    assert page.open == []
    assert [one for one in page.ids() if one in SECTIONS] == SECTIONS
    links = [str(link["href"]) for link in page.named("a")]
    assert {link.removeprefix("#") for link in links} <= set(page.ids())
    assert len(page.ids()) == len(set(page.ids()))


def test_the_verdict_and_the_numbers_are_those_of_the_run(english: str) -> None:
    text = Page(english).text.replace("\u202f", " ")
    assert "87.1 % of 2,117 test rows right (85.6 to 88.5). That is 7.3 points over TF-IDF (5.5 to 9.0)." in text
    for number in ("+7.3 points", "2 min 40 s", "22,713,986", "13.0 %", "0.742", "0.021", "1.63", WEIGHTS, "1e-4"):
        assert number in text, number
    assert "bf16 the processor has avx512_bf16" in text
    assert "learning_rate: 0.0001" in text  # the resolved plan
    assert "luthier serve bundle" in text
    assert "luthier predict bundle input.csv -o answers.csv" in text


def test_every_chart_is_a_picture_with_title_description_and_a_table(english: str) -> None:
    found = drawings(english)
    kinds = [one.attrib["data-chart"] for one in found]
    assert {kind: kinds.count(kind) for kind in kinds} == CHARTS
    for one in found:
        assert one.attrib["role"] == "img"
        assert [child.tag for child in one][:2] == ["title", "desc"]
        assert one[0].text
        assert one[0].text == one.attrib["aria-label"]
        assert one[1].text
        assert len(one) > 5
    tables = english.count("<summary>As a table</summary>")
    assert tables == len(found)


def test_the_page_asks_the_network_for_nothing(english: str) -> None:
    page = Page(english)
    for tag, attributes in page.tags:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "action", "srcset", "poster"}:
                assert str(value).startswith(("#", "data:")), (tag, name, value)
    style = re.findall(r"<style>(.*?)</style>", english, flags=re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_without_a_script_the_system_still_chooses_the_same_dark_colours(english: str) -> None:
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', english, flags=re.DOTALL)
    system = re.search(r"prefers-color-scheme: dark\) \{\s*:root:not\(\[data-theme\]\) \{(.*?)\}", english, re.DOTALL)
    assert chosen is not None
    assert system is not None
    assert chosen[1].split() == system[1].split()
    assert "--paper: #15181a;" in chosen[1]


def test_the_content_policy_lets_only_our_script_run(english: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", english, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(str(one["content"]) for one in Page(english).named("meta") if one.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_texts_of_users_stay_texts() -> None:
    labels = (HOSTILE, '"><b onclick="x">')
    data = report_data(labels=labels, choices={HOSTILE: {"value": HOSTILE, "reason": HOSTILE}}, luthier=HOSTILE)
    page = Page(render(data))
    assert page.open == []
    assert len(page.named("script")) == 1
    assert page.named("img") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert " ".join(HOSTILE.split()) in page.text
    for text in TEXTS:
        assert " ".join(text.split()) in page.text
    assert [one[0].text for one in drawings(render(data))]


def test_chinese_and_english_pages_hold_the_same_parts(english: str) -> None:
    chinese = render(report_data("zh"))
    pages = [Page(english), Page(chinese)]
    assert pages[0].ids() == pages[1].ids()
    assert [one.attrib["data-chart"] for one in drawings(english)] == [
        one.attrib["data-chart"] for one in drawings(chinese)
    ]
    assert pages[1].named("html") == [{"lang": "zh-Hans"}]
    assert "2,117 行测试数据中答对 87.1" in pages[1].text
    for word in ("What to do next", "Confusion matrix", "As a table", "Training"):
        assert word in pages[0].text
        assert word not in pages[1].text


def test_equal_data_give_equal_pages(english: str) -> None:
    assert render(report_data()) == english


def bare(**changes: Any) -> ReportData:
    report = made_run.evaluation(baselines=[], slices=[], blocks=[]).model_copy(update=changes)
    return ReportData(plan=made_run.plan(), evaluation=report)


def test_an_evaluation_alone_is_enough() -> None:
    page = Page(render(bare()))
    assert [one for one in page.ids() if one in SECTIONS] == ["next", "metrics", "run"]
    assert "87.1" in page.text


def test_a_block_of_an_unknown_kind_is_named_and_harms_nothing() -> None:
    blocks = [SimpleNamespace(kind="spans", anything=1), *made_run.evaluation().blocks[:2]]
    page = Page(render(bare(blocks=blocks)))
    assert "This version has no drawing for: spans." in page.text
    assert [one for one in page.ids() if one in SECTIONS] == ["next", "confusion", "per_class", "metrics", "run"]


def test_a_headline_that_no_registry_knows_and_undefined_numbers_are_shown() -> None:
    metrics = {"meteor": MetricValue(value=31.4), "other": MetricValue(value=None)}
    text = Page(render(bare(headline="meteor", metrics=metrics))).text
    assert "meteor 31.400 on 2,117 test rows." in text
    assert "other \u2013" in text


def test_an_evaluation_without_its_headline_is_shown() -> None:
    assert "Accuracy \u2013 on" not in Page(render(bare(metrics={}))).text


def test_empty_examples_and_findings_are_said_to_be_empty() -> None:
    blocks = [made_run.examples("mistakes", 0, ["a", "b"])]
    check = made_run.check().model_copy(update={"findings": [], "step": None, "padding_share": None})
    text = Page(render(report_data(check=check, evaluation=made_run.evaluation(blocks=blocks)))).text
    assert "None were found." in text
    assert "The check found nothing to remark." in text


@pytest.mark.parametrize("steps", [0, 1, 2, 11, 12, 13])
def test_short_trainings_are_drawn(steps: int) -> None:
    html = render(report_data(history=tuple(history(steps, 1))))
    lines = [one for one in drawings(html) if one.attrib["data-chart"] == "line"]
    assert len(lines) == (4 if steps else 0)
    assert "nan" not in html


def test_a_loss_that_is_not_a_number_is_left_out() -> None:
    lines = history(60)
    lines[10]["loss"], lines[20]["loss"], lines[30]["grad_norm"] = float("nan"), None, float("inf")
    html = render(report_data(history=tuple(lines)))
    assert not re.search(r"\b(nan|inf)\b", html)
    assert [one.attrib["data-chart"] for one in drawings(html)].count("line") == 4


def test_large_runs_stay_light() -> None:
    labels = tuple(f"a rather long name of an intent, number {i}" for i in range(50))
    html = render(report_data(labels=labels, history=tuple(history(100_000, 4))))
    assert len(html) < 400_000
    matrix = next(one for one in drawings(html) if one.attrib["data-chart"] == "confusion")
    drawn = [one for one in matrix.iter("rect") if one.attrib["class"] in {"hit", "miss"}]
    block = made_run.confusion(list(labels))
    assert len(drawn) == sum(count > 0 for row in block.counts for count in row)


def test_beyond_sixty_labels_the_matrix_shows_those_with_mistakes() -> None:
    labels = [f"label {i}" for i in range(80)]
    block = made_run.confusion(labels, rows=8000)
    counts = [[count if i >= 40 or i == j else 0 for j, count in enumerate(row)] for i, row in enumerate(block.counts)]
    report = made_run.evaluation(blocks=[block.model_copy(update={"counts": counts})])
    html = render(report_data(evaluation=report))
    assert "The 60 labels with the most mistakes out of 80." in html
    matrix = next(one for one in drawings(html) if one.attrib["data-chart"] == "confusion")
    assert sum(one.attrib["class"] == "hit" for one in matrix.iter("rect")) == 60


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_run_is_read_from_its_files(tmp_path: Path) -> None:
    data = report_data()
    record = made_run.write_run(tmp_path / "run", data)
    found = read_run(record, data.plan)
    assert found == data  # the log's half line is dropped
    path = tmp_path / "run" / "report.html"
    write_report(record, data.plan, path)
    assert path.read_text(encoding="utf-8") == render(data)


def test_a_run_with_nothing_but_an_evaluation_is_reported(tmp_path: Path) -> None:
    from luthier.artifacts.run import RunDir

    record = RunDir(tmp_path)
    made_run.evaluation().write(tmp_path / "evaluation.json")
    write_report(record, made_run.plan(), tmp_path / "report.html")
    assert [one for one in Page((tmp_path / "report.html").read_text(encoding="utf-8")).ids() if one == "data"] == []


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    from luthier.artifacts.run import RunDir

    with pytest.raises(ArtifactError, match="there is no evaluation here"):
        write_report(RunDir(tmp_path), made_run.plan(), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_made_up_evaluation_is_one_that_the_pipeline_could_write(tmp_path: Path) -> None:
    report = made_run.evaluation()
    report.write(tmp_path / "evaluation.json")
    assert EvalReport.read(tmp_path / "evaluation.json") == report
