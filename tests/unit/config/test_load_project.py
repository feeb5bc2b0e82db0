from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.config import DataSpec, Names, Project, TrainSpec, load_project, read_project
from luthier.errors import ProjectError

Mistakes = Callable[..., list[str]]


def test_the_smallest_project_has_every_default(tmp_path: Path, smallest: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(smallest)
    project = load_project(file)
    assert (project.name, project.model, project.data.train) == ("reviews", "sample:minilm", "reviews.csv")
    assert (project.method, project.seed, project.train.epochs) == ("full", 13, 3)
    assert project.train.learning_rate == 1e-4
    assert project.data.columns is None
    assert project.data.split.test == 0.2


def test_a_whole_number_may_stand_where_a_number_may(tmp_path: Path, smallest: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(smallest + "train: {learning_rate: 1, clip_norm: 2, betas: [0, 0.5]}\n")
    train = load_project(file).train
    assert (train.learning_rate, train.clip_norm, train.betas) == (1.0, 2.0, (0.0, 0.5))
    assert type(train.learning_rate) is float


def test_six_different_mistakes_are_reported_at_once_with_their_lines(mistakes: Mistakes, names: Names) -> None:
    text = """\
version: 1
name: My Reviews
task: text-clasification
model: sample:minilm
data:
  train: sample:movie-reviews
  columns: {text: text, label: text}
learning_rate: 1e-4
train:
  epochs: 0
  schedule: lineer
  lerning_rate: "3"
"""
    assert mistakes(text, names=names) == [
        'project.yaml:2 name: must be lower-case letters, digits, ".", "_" and "-", starting with a letter or a digit, '
        'at most 64 in all; got the text "My Reviews". Did you mean "my-reviews"?',
        'project.yaml:3 task: must be text-classification or tagging; got the text "text-clasification". '
        'Did you mean "text-classification"?',
        "project.yaml:7 data.columns: must be a different column for each role; got text more than once.",
        'project.yaml:8 learning_rate: unknown key. Did you mean "train.learning_rate"?',
        "project.yaml:10 train.epochs: must be at least 1; got 0.",
        'project.yaml:11 train.schedule: must be linear, cosine or constant; got the text "lineer". '
        'Did you mean "linear"?',
        'project.yaml:12 train.lerning_rate: unknown key. Did you mean "learning_rate"?',
    ]


# what is put below the smallest project (whose last line is line 6) → the one problem
SENTENCES = {
    "train: {epochs: 0}": "project.yaml:7 train.epochs: must be at least 1; got 0.",
    "train: {epochs: 1.5}": "project.yaml:7 train.epochs: must be a whole number, at least 1; got 1.5.",
    "train: {epochs: 3.0}": "project.yaml:7 train.epochs: must be a whole number, at least 1; got 3.0. Write 3.",
    "train: {epochs: true}": "project.yaml:7 train.epochs: must be a whole number, at least 1; got true.",
    "train: {epochs: '3'}": "project.yaml:7 train.epochs: must be a whole number, at least 1; "
    'got the text "3". Write 3 without quotes.',
    "train: {batch_tokens: 1_024}": "project.yaml:7 train.batch_tokens: must be a whole number, at least 16; "
    'got the text "1_024". Write 1024 without quotes.',
    "train: {epochs: }": "project.yaml:7 train.epochs: must be a whole number, at least 1; got nothing. "
    "Leave the key out to take its default.",
    "train: {learning_rate: 0}": "project.yaml:7 train.learning_rate: must be above 0; got 0.",
    "train: {learning_rate: .nan}": "project.yaml:7 train.learning_rate: must be a finite number; got not a number.",
    "train: {learning_rate: .inf}": "project.yaml:7 train.learning_rate: must be a finite number; got infinity.",
    "train: {warmup: 1}": "project.yaml:7 train.warmup: must be below 1; got 1.",
    "train: {clip_norm: 0}": "project.yaml:7 train.clip_norm: must be above 0; got 0.",
    "train: {clip_norm: none}": "project.yaml:7 train.clip_norm: must be a number, above 0, or null; "
    'got the text "none".',
    "train: {betas: [0.9]}": "project.yaml:7 train.betas: must be a list of 2 numbers, each at least 0 and below 1; "
    "got a list.",
    "train: {betas: [0.9, 1]}": "project.yaml:7 train.betas[1]: must be below 1; got 1.",
    "train: {precision: fp16}": "project.yaml:7 train.precision: must be auto, fp32 or bf16; "
    'got the text "fp16". Did you mean "bf16"?',
    "train: {device: gpu}": "project.yaml:7 train.device: must be auto, cpu, mps, cuda or xpu, or one of several such "
    'as "cuda:1"; got the text "gpu".',
    "train: {early_stopping: true}": "project.yaml:7 train.early_stopping: must be a block of keys, or null; got true.",
    "train: {early_stopping: {}}": 'project.yaml:7 train.early_stopping: the key "patience" is missing. '
    "It must be a whole number, at least 1.",
    "train: {class_weights: even}": "project.yaml:7 train.class_weights: must be none, balanced, or a mapping from "
    'label to weight; got the text "even".',
    "train: {class_weights: 2}": "project.yaml:7 train.class_weights: must be none, balanced, or a mapping from "
    "label to weight; got 2.",
    "train: {class_weights: {0: 2}}": "project.yaml:7 train.class_weights[0]: must be a mapping whose keys are text; "
    'got the key 0. Write "0" in quotes.',
    "train: {class_weights: {neg: 0}}": "project.yaml:7 train.class_weights.neg: must be above 0; got 0.",
    "train: 3": "project.yaml:7 train: must be a block of keys; got 3.",
    "train:": "project.yaml:7 train: must be a block of keys; got nothing. Leave the key out to take its default.",
    "train: {lr: 1}": 'project.yaml:7 train.lr: unknown key. Did you mean "learning_rate"?',
    "train: {batch_size: 8}": 'project.yaml:7 train.batch_size: unknown key. Did you mean "batch_tokens"?',
    "report: {colour: red}": "project.yaml:7 report.colour: unknown key. Allowed here: language.",
    "evaluate: {slices: genre}": "project.yaml:7 evaluate.slices: must be a list of texts; "
    'got the text "genre". Write [genre].',
    "evaluate: {slices: [genre, 3]}": 'project.yaml:7 evaluate.slices[1]: must be text; got 3. Write "3" in quotes.',
    "evaluate: {slices: ['']}": 'project.yaml:7 evaluate.slices[0]: must be not empty; got the text "".',
    "bundle: {licence: ''}": 'project.yaml:7 bundle.licence: must be not empty; got the text "".',
    "method: 3": "project.yaml:7 method: must be a name, or one name with a block of settings; got 3.",
    "method: {}": "project.yaml:7 method: must be exactly one name with its settings; got 0 (none). Keep one.",
    "method: {full: , head: }": "project.yaml:7 method: must be exactly one name with its settings; "
    "got 2 (full, head). Keep one.",
    "method: {full: 3}": "project.yaml:7 method.full: must be a block of settings; got 3.",
    "method: {full: {x: .inf}}": "project.yaml:7 method.full.x: must be a finite number; got infinity.",
    "method: {full: {1: 2}}": "project.yaml:7 method.full: must be a block whose keys are text; "
    'got a block of keys. Write "1" in quotes.',
    "seed: -1": "project.yaml:7 seed: must be at least 0; got -1.",
    "search: {trials: 3}": "project.yaml:7 search: not in this version of Luthier. "
    "Remove it, or install a later version.",
    "tasks: {}": "project.yaml:7 tasks: not in this version of Luthier. Remove it, or install a later version.",
    "epochs: 3": 'project.yaml:7 epochs: unknown key. Did you mean "train.epochs"?',
    "zzz: 3": "project.yaml:7 zzz: unknown key. Allowed here: version, name, task, model, data, method, train, check, "
    "evaluate, bundle, compress, report, track or seed.",
    "version: 1": "project.yaml:7 version: written twice, first at project.yaml:1. Keep one.",
    "  test: t.csv\n  split: {test: 0.3}": "project.yaml:8 data.split.test: must be left out where data.test is given; "
    "got 0.3. Keep one of the two.",
    "  split: {validation: 0}": "project.yaml:7 data.split.validation: must be above 0 unless data.validation is "
    "given; got 0.",
    "  split: {test: 0.5, validation: 0.5}": "project.yaml:7 data.split.validation: must be at most 0.95 together with "
    "split.test, or no rows are left to train on; got 0.5.",
    "  split: {stratified: yes}": 'project.yaml:7 data.split.stratified: must be true or false; got the text "yes". '
    "Write true.",
    "  columns: {}": "project.yaml:7 data.columns: must be a mapping from text to text, or null, not empty; "
    "got an empty block.",
    "  labels: [neg]": "project.yaml:7 data.labels: must be at least 2 different labels; got fewer.",
    "  labels: [neg, neg]": "project.yaml:7 data.labels: must be labels that all differ; got neg more than once.",
    "  labels: [neg, 1]": "project.yaml:7 data.labels: must be labels of one kind (all text, all whole numbers, or all "
    "true and false); got a mixture.",
    "  labels: [neg, 1.5]": "project.yaml:7 data.labels[1]: must be text, a whole number, true or false; got 1.5.",
    "  labels: neg": "project.yaml:7 data.labels: must be a list of labels, or a mapping from label to name, or null; "
    'got the text "neg". Write [neg].',
    "  labels: {0: neg, 1: neg}": "project.yaml:7 data.labels: must be at least 2 different labels; got fewer.",
    "  labels: {0: neg, 1: 2}": 'project.yaml:7 data.labels[1]: must be text; got 2. Write "2" in quotes.',
    "  format: parquet\n  delimiter: ;": "project.yaml:8 data.delimiter: must be left out where data.format is "
    'parquet, which has no delimiter to choose; got the text ";".',
    "  format: arrow\n  encoding: latin-1": "project.yaml:8 data.encoding: must be left out where data.format is "
    'arrow, which has no encoding to choose; got the text "latin-1".',
    "  delimiter: ';;'": 'project.yaml:7 data.delimiter: must be one character, or null; got the text ";;".',
    "  encoding: utf-88": 'project.yaml:7 data.encoding: must be the name of a text encoding, such as "utf-8", '
    '"gb18030" or "latin-1"; got the text "utf-88".',
    "  encoding: base64": 'project.yaml:7 data.encoding: must be the name of a text encoding, such as "utf-8", '
    '"gb18030" or "latin-1"; got the text "base64".',
    "  labels: [neg, pos]\ntrain: {class_weights: {nag: 1.0}}": "project.yaml:8 train.class_weights.nag: must be a "
    "label of data.labels (neg, pos); got nag.",
}


@pytest.mark.parametrize("addition", SENTENCES)
def test_one_mistake_gives_one_sentence(addition: str, mistakes: Mistakes, smallest: str) -> None:
    assert mistakes(f"{smallest}{addition}\n") == [SENTENCES[addition]]


def test_a_revision_is_refused_where_there_is_none(mistakes: Mistakes, smallest: str) -> None:
    assert mistakes(smallest.replace("model: sample:minilm", "model: {id: sample:minilm, revision: main}")) == [
        "project.yaml:4 model.revision: must be left out where model.id is a sample or a folder, which has no "
        'revisions; got the text "main".'
    ]


def test_a_missing_key_names_the_line_of_its_block(mistakes: Mistakes) -> None:
    assert mistakes("# a comment\nversion: 1\nname: a\n\ndata:\n  format: csv\n") == [
        'project.yaml:1: the key "task" is missing. It must be a name, or one name with a block of settings.',
        'project.yaml:1: the key "model" is missing. It must be the id of a model, or a block of keys with one.',
        'project.yaml:5 data: the key "train" is missing. It must be text.',
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", ':1: the key "version" is missing. Add "version: 1", the version of this file format.'),
        (
            "version: 2",
            ":1 version: must be 1, the only version this Luthier reads; got 2. A newer Luthier may read this file.",
        ),
        (
            "version: '1'",
            ':1 version: must be 1, the only version this Luthier reads; got the text "1". Write version: 1.',
        ),
        ("version: 1.0", ":1 version: must be 1, the only version this Luthier reads; got 1.0. Write version: 1."),
        ("version: true", ":1 version: must be 1, the only version this Luthier reads; got true. Write version: 1."),
    ],
)
def test_the_version_is_explained(line: str, message: str, mistakes: Mistakes, smallest: str) -> None:
    assert mistakes(smallest.replace("version: 1", line)) == [f"project.yaml{message}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: is empty. `luthier init DATA` writes a project file to start from."),
        (b"# nothing\n", ":1: is empty. `luthier init DATA` writes a project file to start from."),
        (b"- a\n- b\n", ":1: must be a block of keys; got a list. Write version: 1 and so on."),
        (b"just a text\n", ':1: must be a block of keys; got the text "just a text". Write version: 1 and so on.'),
        (b"version: 1\nname: caf\xe9\n", ":2: must be UTF-8 text; got the byte 0xe9. Save it as UTF-8."),
        (b"\xff\xfev\x00", ":1: must be UTF-8 text; got the byte 0xff. Save it as UTF-8."),
        (b"a: " + b"x" * 300_000, ": must be at most 256 KiB; this is not a project file."),
        (b"\ta: 1", ":1: not valid YAML: a tab stands where only spaces may. Indent with spaces."),
    ],
)
def test_a_file_that_is_no_project_is_named(content: bytes, message: str, mistakes: Mistakes) -> None:
    assert mistakes(content) == [f"project.yaml{message}"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, mistakes: Mistakes) -> None:
    assert mistakes(tmp_path / "no.yaml") == ["no.yaml: there is no such file. `luthier init DATA` writes one."]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.yaml").touch()
    assert mistakes(tmp_path / "folder") == ["folder: must be a file; this is a folder. Did you mean folder/a.yaml?"]
    assert mistakes(Path("version: 1\nname: x")) == [
        "version: 1: a text is taken as the path of a file. Give a project's content as a mapping."
    ]
    assert mistakes(Path("a\0b"))[0].startswith("a\0b: cannot be read: ")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path, smallest: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + smallest.replace("\n", "\r\n").encode())
    assert load_project(file).name == "reviews"


def test_a_syntax_error_hides_nothing_else_and_says_its_line(mistakes: Mistakes, smallest: str) -> None:
    assert mistakes(smallest + "train: {epochs: 1\n") == [
        "project.yaml:8: not valid YAML: a list or mapping in brackets has no end (opened in line 7). "
        'Close it with "}".'
    ]


# --- overrides ------------------------------------------------------------------------------------------------------


def load(text: str, tmp_path: Path, *overrides: str) -> Project:
    file = tmp_path / "project.yaml"
    file.write_text(text)
    return load_project(file, overrides=overrides)


def test_overrides_set_keys_in_order(tmp_path: Path, smallest: str) -> None:
    project = load(
        smallest,
        tmp_path,
        "train.epochs=5",
        "train.epochs=7",
        "train.learning_rate = 1e-5",
        "name=other",
        "evaluate.slices=[genre, year]",
        "data.labels={0: neg, 1: pos}",
        'bundle.licence="1.0"',
        "train.early_stopping.patience=2",
        "train.clip_norm=null",
        "train.dropout=",
        "data.delimiter=;",
    )
    assert (project.train.epochs, project.train.learning_rate, project.name) == (7, 1e-5, "other")
    assert project.evaluate.slices == ("genre", "year")
    assert project.data.labels == {0: "neg", 1: "pos"}
    assert project.bundle.licence == "1.0"
    assert project.train.early_stopping is not None
    assert project.train.early_stopping.patience == 2
    assert (project.train.clip_norm, project.train.dropout, project.data.delimiter) == (None, None, ";")


def test_overrides_open_short_forms(tmp_path: Path, smallest: str) -> None:
    project = load(smallest, tmp_path, "model.max_length=64", "method.adapter.rank=4", "method.adapter.alpha=8")
    assert project.model == load(smallest, tmp_path, "model={id: 'sample:minilm', max_length: 64}").model
    assert project.method == {"adapter": {"rank": 4, "alpha": 8}}
    assert load(smallest + "method: {adapter: {rank: 2, alpha: 8}}\n", tmp_path, "method.adapter.rank=4").method == (
        {"adapter": {"rank": 4, "alpha": 8}}
    )


def test_an_override_cures_a_mistake_in_the_file(tmp_path: Path, smallest: str) -> None:
    text = smallest + "train:\n  epochs: 0\n  epochs: 1\n"
    assert load(text, tmp_path, "train.epochs=2").train.epochs == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "--set train.epochs=0 train.epochs: must be at least 1; got 0."),
        ("train.epohcs=1", '--set train.epohcs=1 train.epohcs: unknown key. Did you mean "epochs"?'),
        ("train={epochs: 0}", "--set train={epochs: 0} train.epochs: must be at least 1; got 0."),
        ("train.epochs", "--set train.epochs: must look like key=value or block.key=value."),
        ("=3", "--set =3: must look like key=value or block.key=value."),
        ("a..b=3", "--set a..b=3: must look like key=value or block.key=value."),
        (
            "data.train.x=1",
            '--set data.train.x=1 data.train: must be a block of keys to set "x" in; got the text "reviews.csv".',
        ),
        (
            "evaluate.slices=[a",
            "--set evaluate.slices=[a evaluate.slices: not valid YAML: a list or mapping in brackets "
            'has no end. Close it with "]".',
        ),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str, mistakes: Mistakes, smallest: str) -> None:
    assert mistakes(smallest, override)[:1] == [message]


def test_problems_of_the_file_come_before_those_of_overrides(mistakes: Mistakes, smallest: str) -> None:
    problems = mistakes(smallest + "seed: -1\n", "train.window=0", "check.steps=0")
    assert [problem.split(" ")[0] for problem in problems] == ["project.yaml:7", "--set", "--set"]
    assert "train.window" in problems[1]


# --- other sources --------------------------------------------------------------------------------------------------


def test_a_mapping_and_a_typed_project_load_alike(tmp_path: Path, smallest: str) -> None:
    mapping = {
        "version": 1,
        "name": "reviews",
        "task": "text-classification",
        "model": "sample:minilm",
        "data": {"train": Path("reviews.csv")},
    }
    typed = Project(
        version=1,
        name="reviews",
        task="text-classification",
        model="sample:minilm",
        data=DataSpec(train="reviews.csv"),
    )
    assert load_project(mapping) == load_project(typed) == load(smallest, tmp_path)
    mixed = {**mapping, "data": DataSpec(train="reviews.csv"), "train": TrainSpec(epochs=4)}
    assert load_project(mixed).train.epochs == load_project(typed, overrides=["train.epochs=4"]).train.epochs == 4


def test_a_typed_project_with_a_test_file_loads_again(smallest: str) -> None:
    project = Project(version=1, name="a", task="t", model="m", data=DataSpec(train="a.csv", test="b.csv"))
    assert load_project(project) == project


def test_mistakes_in_a_mapping_have_a_path_and_no_line(mistakes: Mistakes) -> None:
    mapping: dict[Any, Any] = {"version": 1, "name": "a", "task": "t", "model": "m", "data": {"train": object()}}
    assert mistakes(mapping) == ["project data.train: must be text; got a object."]
    assert mistakes({**mapping, "data": {"train": "x"}, None: 1}) == [
        "project None: must be a key that is text; got nothing."
    ]


def test_the_folder_of_the_file_is_where_paths_start(
    tmp_path: Path, smallest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "known").mkdir(parents=True)
    (tmp_path / "sub" / "p.yaml").write_text(smallest)
    monkeypatch.chdir(tmp_path)
    loaded = read_project("sub/p.yaml")
    folder = tmp_path / "sub"
    assert (loaded.folder, loaded.file, loaded.text) == (folder, folder / "p.yaml", smallest)
    assert loaded.project.data.train == "reviews.csv"  # as it was written
    located = {
        "reviews.csv": f"{folder}/reviews.csv",
        "../data/x": f"{tmp_path}/data/x",
        "known": f"{folder}/known",
        "/absolute/x": "/absolute/x",
        "~/x.csv": f"{Path.home()}/x.csv",
        "sample:minilm": "sample:minilm",
        "org/name": "org/name",
        "imdb": "imdb",
    }
    assert {source: loaded.locate(source) for source in located} == located
    assert loaded.where("data.train") == "sub/p.yaml:6"
    assert loaded.where("train.epochs") == "sub/p.yaml:1"
    assert str(loaded.problem("data.train", "is gone.")) == "sub/p.yaml:6 data.train: is gone."


def test_a_mapping_starts_paths_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = read_project({"version": 1, "name": "a", "task": "t", "model": "m", "data": {"train": "x.csv"}})
    assert loaded.folder == tmp_path
    assert loaded.where("data.train") == "project"


def test_the_environment_changes_nothing(tmp_path: Path, smallest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(smallest, tmp_path)
    for name in ("EPOCHS", "TRAIN_EPOCHS", "LUTHIER_TRAIN_EPOCHS", "LUTHIER_SEED", "SEED"):
        monkeypatch.setenv(name, "99")
    assert load(smallest, tmp_path) == before


def test_reading_a_wrong_file_loads_nothing_heavy(tmp_path: Path, smallest: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(smallest + "train: {epochs: 0}\n")
    code = f"""
import sys
import luthier.config
assert not any(name.startswith("ruamel") for name in sys.modules), "ruamel is loaded with the package"
try:
    luthier.config.load_project({str(file)!r})
except luthier.errors.ProjectError as error:
    print(error)
heavy = {{"torch", "transformers", "numpy", "pyarrow", "sklearn", "pandas"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{file}:7 train.epochs: must be at least 1; got 0."


def test_an_error_keeps_its_problems_apart(tmp_path: Path, smallest: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(smallest + "seed: x\ntrain: {epochs: 0}\n")
    with pytest.raises(ProjectError) as caught:
        load_project(file)
    assert [(problem.where, problem.path) for problem in caught.value.problems] == [
        (f"{file}:7", "seed"),
        (f"{file}:8", "train.epochs"),
    ]
