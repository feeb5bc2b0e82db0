from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from declared_settings import Adapter, Sized

from luthier.config import Names, build_settings, load_project
from luthier.errors import ProjectError

Mistakes = Callable[..., list[str]]

# what is put below the smallest project → the problems that only the names can find
WITH_NAMES = {
    "method: adaptor": [
        'project.yaml:7 method: must be full or adapter; got the text "adaptor". Did you mean "adapter"?'
    ],
    "method:\n  adaptor: {rank: 2}": [
        'project.yaml:8 method.adaptor: must be full or adapter; got the text "adaptor". Did you mean "adapter"?'
    ],
    "method: {full: {rank: 2}}": ['project.yaml:7 method.full.rank: unknown key. "full" takes no settings.'],
    "method:\n  adapter:\n    rnk: 2\n    rank: 0\n    alpha: big\n    where: atention\n    layers: [1, x]": [
        'project.yaml:9 method.adapter.rnk: unknown key. Did you mean "rank"?',
        "project.yaml:10 method.adapter.rank: must be at least 1; got 0.",
        'project.yaml:11 method.adapter.alpha: must be a number, above 0; got the text "big".',
        'project.yaml:12 method.adapter.where: must be attention or all; got the text "atention". '
        'Did you mean "attention"?',
        'project.yaml:13 method.adapter.layers[1]: must be a whole number; got the text "x".',
    ],
    "method: {adapter: {rank: 2.0}}": [
        "project.yaml:7 method.adapter.rank: must be a whole number, at least 1 and at most 512; got 2.0. Write 2."
    ],
    "method: {adapter: {bias: 1}}": ["project.yaml:7 method.adapter.bias: must be true or false; got 1."],
    "method: {adapter: {epochs: 1}}": [
        "project.yaml:7 method.adapter.epochs: unknown key. Allowed here: rank, alpha, where, layers or bias."
    ],
    "train: {select_by: acuracy}": [
        'project.yaml:7 train.select_by: must be accuracy or f1_macro; got the text "acuracy". Did you mean "accuracy"?'
    ],
    "evaluate: {baselines: [majority, tf-idf]}": [
        'project.yaml:7 evaluate.baselines[1]: must be majority or tfidf; got the text "tf-idf". Did you mean "tfidf"?'
    ],
    "check: {ignore: [rows_cut]}": [
        'project.yaml:7 check.ignore[0]: must be near-duplicates or rows-cut; got the text "rows_cut". '
        'Did you mean "rows-cut"?'
    ],
    "  test: sample:movies-reviews": [
        "project.yaml:7 data.test: must be sample:minilm or sample:movie-reviews; "
        'got the text "sample:movies-reviews". Did you mean "sample:movie-reviews"?'
    ],
    "  columns: {txt: a, label: b}": [
        'project.yaml:7 data.columns: the role "text" is missing. Name the column that plays it.',
        "project.yaml:7 data.columns.txt: unknown role of text-classification. It has text, label or text_pair. "
        'Did you mean "text"?',
    ],
}


@pytest.mark.parametrize("addition", WITH_NAMES)
def test_names_are_checked_where_they_are_given(
    addition: str, mistakes: Mistakes, smallest: str, names: Names, tmp_path: Any
) -> None:
    assert mistakes(f"{smallest}{addition}\n", names=names) == WITH_NAMES[addition]
    assert load_project(tmp_path / "project.yaml")  # without names there is nothing to object to


def test_what_is_registered_loads(names: Names) -> None:
    project = load_project(
        {
            "version": 1,
            "name": "a",
            "task": {"text-classification": None},
            "model": {"id": "sample:minilm"},
            "data": {"train": "sample:movie-reviews", "columns": {"text": "a", "label": "b", "text_pair": "c"}},
            "method": {"adapter": {"rank": 512, "alpha": 1, "layers": [0, 1]}},
            "train": {"select_by": "f1_macro"},
            "check": {"ignore": ["rows-cut"]},
        },
        names=names,
    )
    assert project.method == {"adapter": {"rank": 512, "alpha": 1, "layers": [0, 1]}}


def test_names_are_checked_even_where_the_rest_is_wrong(mistakes: Mistakes, names: Names) -> None:
    text = "version: 3\ntask: {tagging: {width: 3}}\nmodel: {id: sample:x}\ndata: 3\nmethod: lora\n"
    problems = mistakes(text, names=names)
    assert [problem.split(":")[1].split(" ")[0] + " " + problem.split(" ")[1] for problem in problems] == [
        "1 the",
        "1 version:",
        "2 task.tagging:",
        "3 model.id:",
        "4 data:",
        "5 method:",
    ]
    assert problems[2] == "project.yaml:2 task.tagging: width must be even; got 3."


def test_a_setting_that_must_be_given_is_asked_for(mistakes: Mistakes, smallest: str, names: Names) -> None:
    text = smallest.replace("text-classification", "tagging")
    assert mistakes(text, names=names) == [
        'project.yaml:3 task: the key "width" is missing. It must be a whole number, at least 1.'
    ]


def test_build_settings_returns_the_dataclass() -> None:
    assert build_settings(Adapter, {}) == Adapter()
    assert build_settings(Adapter, {"rank": 2, "alpha": 3, "layers": [1, 2]}) == Adapter(2, 3.0, "attention", (1, 2))
    assert type(build_settings(Adapter, {"alpha": 3}).alpha) is float
    assert build_settings(Sized, {"width": 2}) == Sized(2)
    assert build_settings(None, {}) is None


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (Adapter, {"rank": 0}, "method.adapter.rank: must be at least 1; got 0."),
        (
            Adapter,
            {"rank": "8"},
            "method.adapter.rank: must be a whole number, at least 1 and at most 512; "
            'got the text "8". Write 8 without quotes.',
        ),
        (Sized, {"width": 3}, "method.adapter: width must be even; got 3."),
        (None, {"x": 1}, 'method.adapter.x: unknown key. "adapter" takes no settings.'),
    ],
)
def test_build_settings_refuses_in_the_same_words(settings: type | None, values: Any, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        build_settings(settings, values, path="method.adapter")
    assert [f"{problem.path}: {problem.message}" for problem in caught.value.problems] == [message]
