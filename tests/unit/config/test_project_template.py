from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from project_strategies import LABELS, TEXTS

from luthier.config import load_project
from luthier.config.keys import key_table
from luthier.config.parsing import parse
from luthier.config.template import SHOWN, project_text

GIVEN: dict[str, Any] = {
    "name": "reviews",
    "task": "text-classification",
    "model": "sample:minilm",
    "data": "my reviews.csv",
    "columns": {"text": "review", "label": "stars"},
}


def test_the_text_loads_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(project_text(**GIVEN, labels=[1, 2], notes=["Guessed from 200 rows."]), encoding="utf-8")
    project = load_project(file)
    assert (project.name, project.task, project.model) == ("reviews", "text-classification", "sample:minilm")
    assert project.data.train == "my reviews.csv"
    assert project.data.columns == {"text": "review", "label": "stars"}
    assert project.data.labels == (1, 2)


def test_the_text_says_what_each_key_does() -> None:
    text = project_text(**GIVEN, notes=["Guessed from 200 rows.", "Two\nlines"])
    assert text.startswith("# Guessed from 200 rows.\n# Two\n# lines\n")
    comments = " ".join(line.strip(" #") for line in text.splitlines() if line.strip().startswith("#"))
    for path in ("version", "task", "data.columns", *SHOWN):
        assert " ".join(key_table()[path].description.split()) in comments
        assert f"{path.rpartition('.')[2]}:" in text
    assert "labels:" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_defaults_that_are_written_out_are_the_defaults() -> None:
    written = load_project(parse(project_text(**GIVEN), "p").value)
    top = {key: GIVEN[key] for key in ("name", "task", "model")}
    left_out = load_project({"version": 1, **top, "data": {"train": GIVEN["data"], "columns": GIVEN["columns"]}})
    assert written == left_out


@settings(deadline=None)
@given(
    data=TEXTS,
    columns=st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=3).filter(lambda d: len({*d.values()}) == len(d)),
    labels=st.none() | LABELS,
    notes=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=150), max_size=3),
)
def test_whatever_the_data_is_called_the_text_loads(
    data: str, columns: dict[str, str], labels: Any, notes: list[str]
) -> None:
    text = project_text(**{**GIVEN, "data": data, "columns": columns}, labels=labels, notes=notes)
    document = parse(text, "p")
    assert document.sorted_problems() == []
    project = load_project(document.value)
    assert (project.data.train, project.data.columns) == (data, columns)
    expected = tuple(labels) if isinstance(labels, list) else labels
    assert project.data.labels == expected
