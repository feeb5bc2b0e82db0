from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.config.parsing import MAX_DEPTH, MAX_VALUES, parse, read_scalar
from luthier.config.writing import scalar, yaml_text

# YAML 1.2.2, section 10.3 (core schema): each form, and what looks like one but is text there.
SCALARS = {
    "": None,
    "~": None,
    "null": None,
    "NULL": None,
    "nUll": "nUll",
    "true": True,
    "FALSE": False,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "y": "y",
    "0": 0,
    "-12": -12,
    "+12": 12,
    "017": 17,
    "0o17": 15,
    "0x1F": 31,
    "0b1": "0b1",
    "1_000": "1_000",
    "1,5": "1,5",
    "1:30": "1:30",
    "2024-01-31": "2024-01-31",
    "1e-4": 1e-4,
    "1E4": 1e4,
    "2.": 2.0,
    ".5": 0.5,
    "-.5e3": -500.0,
    ".": ".",
    "e4": "e4",
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "inf": "inf",
    "NA": "NA",
    "=": "=",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_an_unquoted_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert read_scalar(text) == value
    assert type(read_scalar(text)) is type(value)


@pytest.mark.parametrize("text", [text for text in SCALARS if text not in ("", "=")])
def test_the_rules_hold_inside_a_file_whatever_version_it_claims(text: str) -> None:
    assert parse(f"key: {text}", "p").value == {"key": SCALARS[text]}
    assert parse(f"%YAML 1.1\n---\nkey: {text}", "p").value == {"key": SCALARS[text]}


def test_quotes_and_the_tag_str_keep_text() -> None:
    text = "a: '1'\nb: \"true\"\nc: !!str 12\nd: ! 3\ne: |\n  4\n"
    assert parse(text, "p").value == {"a": "1", "b": "true", "c": "12", "d": "3", "e": "4\n"}


def test_nan_is_a_number() -> None:
    value = read_scalar(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_places_are_the_lines_of_keys_and_items() -> None:
    document = parse("# head\na: 1\nb:\n  c: [x,\n    y]\n", "p.yaml")
    where = {path: place.where for path, place in document.places.items()}
    assert where == {
        (): "p.yaml:1",
        ("a",): "p.yaml:2",
        ("b",): "p.yaml:3",
        ("b", "c"): "p.yaml:4",
        ("b", "c", 0): "p.yaml:4",
        ("b", "c", 1): "p.yaml:5",
    }
    assert document.place(("b", "nothing", "here")).where == "p.yaml:3"


def test_aliases_repeat_what_they_name() -> None:
    assert parse("a: &x {k: [1]}\nb: *x\n", "p").value == {"a": {"k": [1]}, "b": {"k": [1]}}


# text → the line and the sentence
BROKEN = {
    "tab": ("a:\n\tb: 1", "p:2: not valid YAML: a tab stands where only spaces may. Indent with spaces."),
    "at sign": (
        "a: @b",
        "p:1: not valid YAML: found character '@' that cannot start any token. Put the value in quotes.",
    ),
    "colon": (
        "a: 1\nb: c: d",
        'p:2: not valid YAML: an unexpected ": " or a wrong indentation. Put a text with ": " in quotes.',
    ),
    "indentation": (
        "a: 1\n  b: 2",
        'p:2: not valid YAML: an unexpected ": " or a wrong indentation. Put a text with ": " in quotes.',
    ),
    "no colon": ("a: 1\nb\n", 'p:2: not valid YAML: a line without ": ". Write "key: value".'),
    "open list": (
        "a: [1,\nb: 2\n",
        'p:3: not valid YAML: a list or mapping in brackets has no end (opened in line 1). Close it with "]".',
    ),
    "open mapping": (
        "a: {b: 1\n",
        'p:2: not valid YAML: a list or mapping in brackets has no end (opened in line 1). Close it with "}".',
    ),
    "open quotes": (
        "a: 1\nb: 'c\n",
        "p:3: not valid YAML: a quoted text has no end (opened in line 2). Close the quotes.",
    ),
    "alias": (
        "a: *b",
        'p:1: not valid YAML: nothing above carries the anchor "&b". Quote a text with "*".',
    ),
    "alias of itself": (
        "a: &b [*b]",
        'p:1: not valid YAML: nothing above carries the anchor "&b". Quote a text with "*".',
    ),
    "control character": ("a: 1\nb: \x01", "p:2: not valid YAML: the character U+0001 is not allowed. Remove it."),
    "two documents": (
        "---\na: 1\n---\nb: 1",
        'p:3: must hold one YAML document; a second starts here. Remove the "---".',
    ),
    "python object": (
        "a: 1\nb: !!python/object/apply:os.system [x]",
        'p:2 b: must not carry the YAML tag "tag:yaml.org,2002:python/object/apply:os.system". Write a plain value.',
    ),
    "merge key": ("a: 1\n<<: {b: 1}", 'p:2: merge keys ("<<") are not part of YAML 1.2. Write the keys out.'),
    "written twice": ("a: 1\nb:\n  c: 1\n  c: 2", "p:4 b.c: written twice, first at p:3. Keep one."),
    "number as key": ("1.5: a", 'p:1: must have keys that are text; got the key "1.5". Put it in quotes.'),
    "list as key": ("? [a]\n: 1", "p:1: must have keys that are text; got the key a list. Put it in quotes."),
    "deep": ("a: " + "[" * 5000, f"p:1: must nest at most {MAX_DEPTH} levels deep."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_text_is_named_with_its_line(name: str) -> None:
    text, message = BROKEN[name]
    assert [str(problem) for problem in parse(text, "p").sorted_problems()] == [message]


def test_what_aliases_expand_to_is_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (problem,) = parse("\n".join(lines), "p").sorted_problems()
    assert problem.message == f"must hold at most {MAX_VALUES} values, aliases counted as often as used."


@pytest.mark.parametrize("text", ["${HOME}", "$(ls)", "$HOME", "`ls`", "{{ 1 + 1 }}"])
def test_an_expression_stays_text(text: str) -> None:
    assert parse(f"a: '{text}'", "p").value == {"a": text}


@given(st.text(max_size=200))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    document = parse(text, "p")
    for problem in document.sorted_problems():
        assert problem.where.startswith("p:")
        assert int(problem.where[2:]) <= text.count("\n") + text.count("\r") + text.count("\x85") + len(text) + 1


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
_KEYS = _TEXTS | st.integers(-100, 100)
_VALUES = st.recursive(
    _SCALARS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=5))
def test_plain_values_survive_being_written_and_read(value: dict[object, object]) -> None:
    document = parse(yaml_text(value), "p")
    assert document.sorted_problems() == []
    assert document.value == value
    assert repr(document.value) == repr(value)  # 1 == 1.0 == True


@pytest.mark.parametrize(
    "text", ["no", "Yes", "1:30", "2024-01-31", "1_000", "017", "", " a", "a: b", "#x", "- a", "*"]
)
def test_texts_that_other_readers_would_turn_into_something_else_are_quoted(text: str) -> None:
    assert scalar(text) == f'"{text}"'


@pytest.mark.parametrize("text", ["reviews.csv", "sample:minilm", "../data/x.csv", "org/name", "text-classification"])
def test_names_and_paths_stay_bare(text: str) -> None:
    assert scalar(text) == text


def test_floats_carry_a_point() -> None:
    assert [scalar(value) for value in (1e-8, 1e22, 1.0, 0.25)] == ["1.0e-08", "1.0e+22", "1.0", "0.25"]


def test_an_infinite_number_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="must be finite; got inf"):
        scalar(math.inf)
