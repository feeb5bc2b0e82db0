from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import LABELS, make_bundle

from luthier.data import sources
from luthier.errors import DataError
from luthier.inference.loading import load
from luthier.inference.predictor import Predictor
from luthier.inference.tables import TableReport, predict_table

TEXTS = ["the film was good", "bad", "a very boring plot and a great actor", "NA", "null", "it is, well, ok"]


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return load(bundle)


def read_csv(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter, strict=True))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(path: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    return path


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


def test_a_csv_comes_back_with_its_columns_and_the_answers_of_predict(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS))])
    report = predict_table(predictor, source, out=tmp_path / "out.csv", chunk=4)
    rows = read_csv(tmp_path / "out.csv")
    assert [row["text"] for row in rows] == TEXTS  # NA and null stay text
    assert [row["id"] for row in rows] == [str(i) for i in range(len(TEXTS))]
    assert list(rows[0]) == ["id", "text", "label", "probability", "score.negative", "score.positive", "error"]
    for row, expected in zip(rows, predictor.predict(TEXTS), strict=True):
        assert row["label"] == expected.as_dict()["label"]
        assert float(row["probability"]) == pytest.approx(expected.as_dict()["probability"], abs=1e-6)
        assert float(row["score.negative"]) + float(row["score.positive"]) == pytest.approx(1)
        assert row["error"] == ""
    assert (report.rows, report.answered, report.bad) == (len(TEXTS), len(TEXTS), ())
    assert (report.format, report.out_format) == ("csv", "csv")
    assert {row["label"] for row in rows} <= set(LABELS)
    assert len({row["probability"] for row in rows}) > 3, "the tiny model must tell rows apart for this to show order"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("out_ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_goes_to_every_format(predictor: Predictor, tmp_path: Path, ending: str, out_ending: str) -> None:
    source = tmp_path / f"in.{ending}"
    if ending == "jsonl":
        source.write_text("".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    elif ending == "parquet":
        pq.write_table(pa.table({"id": [str(i) for i in range(len(TEXTS))], "text": TEXTS}), source)
    else:
        write_csv(
            source, [["id", "text"], *([str(i), t] for i, t in enumerate(TEXTS))], "\t" if ending == "tsv" else ","
        )
    out = tmp_path / f"out.{out_ending}"
    report = predict_table(predictor, source, out=out, chunk=2)
    if out_ending == "jsonl":
        rows = read_jsonl(out)
    elif out_ending == "parquet":
        rows = pq.read_table(out).to_pylist()
    else:
        rows = read_csv(out, "\t" if out_ending == "tsv" else ",")
    expected = [one.as_dict() for one in predictor.predict(TEXTS)]
    assert [(row["id"], row["text"], row["label"]) for row in rows] == [
        (str(i), text, one["label"]) for i, (text, one) in enumerate(zip(TEXTS, expected, strict=True))
    ]
    assert [float(row["probability"]) for row in rows] == pytest.approx([e["probability"] for e in expected], abs=1e-6)
    assert (report.format, report.out_format) == (ending, out_ending)


BAD_CSV = [  # (line as written, what the report says of it)
    ("2,", '"text" is empty'),
    ("3", "has 1 cell instead of 2"),
    ("4,too,many", "has 3 cells instead of 2"),
    ('5,"closed" wrongly', "closing quote"),
    ("6,nul\0byte", "NUL byte"),
]


@pytest.mark.parametrize(("line", "says"), BAD_CSV)
def test_a_bad_csv_row_is_named_and_keeps_its_place(predictor: Predictor, tmp_path: Path, line: str, says: str) -> None:
    source = tmp_path / "in.csv"
    source.write_text(f"id,text\n1,good\n{line}\n7,bad\n", newline="")
    report = predict_table(predictor, source, out=tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    assert (report.rows, report.answered) == (3, 2)
    assert report.bad[0].place == f"{source}:3"
    assert says in report.bad[0].message
    assert rows[1]["error"] == report.bad[0].message
    assert rows[1]["label"] == rows[1]["probability"] == ""
    assert [rows[0]["text"], rows[2]["text"]] == ["good", "bad"]
    assert all(row["label"] in LABELS and not row["error"] for row in (rows[0], rows[2]))


def test_a_quote_that_never_closes_costs_one_row(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('text\ngood\n"bad\ngreat\nok\n')
    report = predict_table(predictor, source, out=tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    assert (report.rows, report.answered, report.bad[0].place) == (4, 3, f"{source}:3")
    assert [row["text"] for row in rows] == ["good", "", "great", "ok"]


BAD_JSON = [
    ('{"text": ', "is not JSON"),
    ("[1]", "no object"),
    ('"good"', "no object"),
    ("{}", 'must have "text"'),
    ('{"text": null}', "is absent"),
    ('{"text": 3}', "must be text; got int 3"),
    ('{"text": ""}', "is empty"),
    ('{"text": "\\ud83d"}', "surrogate"),
    ('{"text": "a", "text": "b"}', "twice"),
    ('{"text": "a", "x": NaN}', "NaN"),
    ('{"text": "a", "x": 1e999}', "too large"),
    ('{"text": "a", "x": ' + "[" * 100_000, "nested too deeply"),
    ('{"text": "a", "x": ' + "9" * 5000 + "}", "thousands of digits"),
]


@pytest.mark.parametrize(("line", "says"), BAD_JSON)
@pytest.mark.parametrize("out_ending", ["jsonl", "csv", "parquet"])
def test_a_bad_json_line_is_named_and_keeps_its_place(
    predictor: Predictor, tmp_path: Path, line: str, says: str, out_ending: str
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{out_ending}"
    source.write_text('{"text": "good", "n": 1}\n' + line + '\n{"text": "bad", "n": 2}\n')
    report = predict_table(predictor, source, out=out)
    assert (report.rows, report.answered, report.bad[0].place) == (3, 2, f"{source}:2")
    assert says in report.bad[0].message
    readers = {"jsonl": read_jsonl, "csv": read_csv, "parquet": lambda path: pq.read_table(path).to_pylist()}
    rows = readers[out_ending](out)
    assert rows[1]["error"] == report.bad[0].message
    assert not rows[1]["label"]
    assert [rows[0]["text"], rows[2]["text"]] == ["good", "bad"]
    assert [str(rows[0]["n"]), str(rows[2]["n"])] == ["1", "2"]


def test_bytes_of_another_encoding_are_one_bad_row(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\ngood\n" + "café\n".encode("latin-1") + b"bad\n")
    report = predict_table(predictor, source, out=tmp_path / "out.csv")
    assert (report.rows, report.answered, report.bad[0].place) == (3, 2, f"{source}:3")
    assert "byte 0xe9" in report.bad[0].message
    read = predict_table(predictor, source, out=tmp_path / "out.csv", encoding="latin-1")
    assert read.answered == 3
    assert read_csv(tmp_path / "out.csv")[1]["text"] == "café"


CSV_LINES = [
    "good",
    '"bad, and"',
    "",
    '""',
    '"',
    'a "quote" inside',
    '"closed" wrongly',
    "one,two",
    "nul\0",
    " ",
    "你好",
]
JSON_LINES = [line for line, _ in BAD_JSON if "text" not in line or '"text": "a"' in line]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(CSV_LINES), min_size=1, max_size=6))
def test_rows_are_read_as_the_sources_read_them(predictor: Predictor, tmp_path: Path, lines: list[str]) -> None:
    """Where training leaves a CSV row out as unreadable, prediction finds it bad, and nowhere else."""
    source = tmp_path / "in.csv"
    source.write_text("text,n\n" + "".join(f"{line},1\n" for line in lines), newline="")
    out = tmp_path / "out.csv"
    report = predict_table(predictor, source, out=out)
    structure = [row for row in read_csv(out) if not row["error"] or row["error"].startswith('"text"')]
    try:
        rows = sources.read(source, folder=tmp_path, bad_rows="skip", cache=tmp_path / "cache")
    except DataError:
        assert structure == []
    else:
        assert [row["text"] for row in structure] == rows.column("text")
    assert report.rows == len(read_csv(out))


def test_a_column_of_the_input_is_never_overwritten(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["text", "label", "error"], ["good", "mine", "none"]])
    report = predict_table(predictor, source, out=tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["label"], row["error"]) == ("mine", "none")
    assert row["predicted.label"] in LABELS
    assert row["predicted.error"] == ""
    assert any('"label" as "predicted.label"' in note for note in report.notes)


@pytest.mark.parametrize("out_ending", ["jsonl", "csv", "parquet"])
def test_a_key_that_only_later_rows_have_is_not_overwritten(
    predictor: Predictor, tmp_path: Path, out_ending: str
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{out_ending}"
    source.write_text('{"text": "good"}\n{"text": "bad", "label": "mine", "predicted.label": "too"}\n')
    predict_table(predictor, source, out=out)
    readers = {"jsonl": read_jsonl, "csv": read_csv, "parquet": lambda path: pq.read_table(path).to_pylist()}
    rows = readers[out_ending](out)
    assert (rows[1]["label"], rows[1]["predicted.label"]) == ("mine", "too")
    assert rows[1]["predicted.predicted.label"] in LABELS
    assert rows[0]["predicted.predicted.label" if out_ending != "jsonl" else "label"] in LABELS


def test_parquet_keeps_the_types_of_the_input(predictor: Predictor, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["good", None, "bad"],
            "when": pa.array([datetime(2024, 1, 2, tzinfo=UTC)] * 3, pa.timestamp("ns", "UTC")),
            "span": pa.array([1, 2, 3], pa.duration("s")),
            "n": pa.array([1, None, 3], pa.int16()),
            "x": [1.5, float("nan"), float("inf")],
            "raw": [b"\xff", None, b""],
            "list": [[1.0, float("nan")], [], None],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    report = predict_table(predictor, tmp_path / "in.parquet", out=tmp_path / "out.parquet", chunk=2)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.select(table.column_names).schema.types == table.schema.types
    assert written.column("when").equals(table.column("when"))
    assert written.column("raw").to_pylist() == [b"\xff", None, b""]
    assert written.column("label").to_pylist()[1] is None
    assert report.bad[0].place.endswith("in.parquet row 2")
    predict_table(predictor, tmp_path / "in.parquet", out=tmp_path / "out.jsonl")
    first, second, _ = read_jsonl(tmp_path / "out.jsonl")
    assert (first["when"], first["raw"], first["n"]) == ("2024-01-02 00:00:00.000000000Z", "/w==", 1)
    assert (second["x"], second["n"], second["label"]) == (None, None, None)
    assert first["list"] == [1.0, None]


def test_mixed_json_values_become_text_in_a_table(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [
        {"text": "good", "a": 1, "b": 1, "c": [1, "é"], "d": True, "e": 2**70},
        {"text": "bad", "a": "x", "b": 2.5, "c": {"k": None}, "d": None, "e": 1, "late": "only here"},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict_table(predictor, source, out=tmp_path / "out.parquet")
    one, two = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [one[name] for name in "abcde"] == ["1", 1.0, '[1, "é"]', True, str(2**70)]
    assert [two[name] for name in "abcde"] == ["x", 2.5, '{"k": null}', None, "1"]
    assert (one["late"], two["late"]) == (None, "only here")


PIPED = [
    (b'{"text": "good"}\n{"text": "bad"}\n', "jsonl"),
    (b'\n  {"text": "good"}\n{"text": "bad"}\n', "jsonl"),
    (b"\xef\xbb\xbfid,text\n1,good\n2,bad\n", "csv"),
    (b"id;text\n1;good\n2;bad\n", "csv"),
    (b'"text"\ngood\nbad\n', "csv"),
    (b"id\ttext\n1\tgood\n2\tbad\n", "tsv"),
    (b"good\nbad\n", "text"),
    (b"good\r\nbad", "text"),
    (b"a good text, truly\nbad\n", "text"),
]


@pytest.mark.parametrize(("data", "format"), PIPED)
def test_standard_input_is_guessed_and_said(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, data: bytes, format: str
) -> None:
    pipe(monkeypatch, data)
    out = io.StringIO()
    report = predict_table(predictor, "-", out=out)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["text"] for row in rows][1] == "bad"
    assert report.answered == 2
    assert (report.format, report.out_format) == (format, "jsonl")
    assert report.notes[0].startswith("standard input was read as ")
    assert not sys.stdin.buffer.closed


def test_plain_text_keeps_one_row_per_line(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"good\n\nbad\n")
    out = io.StringIO()
    report = predict_table(predictor, "-", out=out, format="text")
    assert [json.loads(line)["text"] for line in out.getvalue().splitlines()] == ["good", "", "bad"]
    assert report.bad[0].place == "standard input:2"


def test_a_given_format_is_not_guessed(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"text\ngood\n")
    out = io.StringIO()
    assert predict_table(predictor, "-", out=out, format="text").rows == 2
    assert predict_table(predictor, "-", out=io.StringIO()).rows == 0  # nothing is left


def test_an_input_without_ending_is_written_as_it_was_read(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("id;text\n1;good\n")
    report = predict_table(predictor, tmp_path / "rows", out=tmp_path / "answers")
    assert (report.format, report.out_format) == ("csv", "csv")
    assert read_csv(tmp_path / "answers", ";")[0]["text"] == "good"


REFUSED: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("in.csv", b"a,b\n1,2\n", {}, 'column "text" does not exist; the columns are "a", "b".'),
    ("in.csv", b"text,text\n1,2\n", {}, 'every column must have a name of its own; "text" names columns 1, 2.'),
    ("in.csv", b"", {}, "is empty"),
    ("in.jsonl", b'[{"text": "good"}]', {}, "holds one JSON array"),
    ("in.jsonl", b'{\n"text": "good"\n}', {}, "spreads an object over several lines"),
    ("in.parquet", b"PAR1 is all it has", {}, "must be a Parquet file, whole and undamaged"),
    ("in.csv", b"PAR1 is all it has", {}, "it is a Parquet file"),
    ("in.csv", b"text\ngood\n", {"format": "xml"}, "--format must be one of"),
    ("in.csv", b"text\ngood\n", {"out_format": "xml"}, "output's format must be one of"),
    ("in.csv", b"text\ngood\n", {"encoding": "utf8x"}, "must be the name of a text encoding"),
    ("in.csv", b"text\ngood\n", {"delimiter": "::"}, "must be one character"),
    ("in.csv", b"text\ngood\n", {"chunk": 0}, "chunk must be at least 1"),
    ("in.csv", b"text\ngood\n", {"out": "no/such/folder/out.csv"}, "cannot be written: No such file or directory"),
    ("in.csv", b"text\ngood\n", {"out": "."}, "cannot be written: Is a directory"),
]


@pytest.mark.parametrize(("name", "data", "options", "says"), REFUSED)
def test_what_cannot_be_done_is_one_clear_error_and_leaves_nothing(
    predictor: Predictor, tmp_path: Path, name: str, data: bytes, options: dict[str, Any], says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    out = tmp_path / options.pop("out", "out.jsonl")
    with pytest.raises(DataError) as caught:
        predict_table(predictor, tmp_path / name, out=out, **options)
    assert says in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_input_and_a_parquet_pipe_are_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        predict_table(predictor, tmp_path / "none.csv", out=tmp_path / "out.csv")
    pipe(monkeypatch, b"PAR1")
    with pytest.raises(DataError, match="cannot be parquet, which needs a file"):
        predict_table(predictor, "-", out=tmp_path / "out.csv", format="parquet")
    (tmp_path / "in.csv").write_text("text\ngood\n")
    with pytest.raises(DataError, match="Parquet must go to a file"):
        predict_table(predictor, tmp_path / "in.csv", out=io.StringIO(), out_format="parquet")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("in_ending", ["csv", "jsonl"])
def test_an_interrupted_table_leaves_the_older_output_alone(
    predictor: Predictor, tmp_path: Path, ending: str, in_ending: str
) -> None:
    source = tmp_path / f"in.{in_ending}"
    source.write_text("text\n" + "good\n" * 9 if in_ending == "csv" else '{"text": "good"}\n' * 9)
    out = tmp_path / f"out.{ending}"
    out.write_text("older")

    def stop(rows: int) -> None:
        if rows >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_table(predictor, source, out=out, chunk=2, progress=stop)
    assert out.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, out.name])


def test_a_path_may_be_text_and_bad_rows_unpack(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["text"], ["good"], [" "]])
    ((place, message),) = predict_table(predictor, str(source), out=tmp_path / "out.csv").bad
    assert (place, message) == (f"{source}:3", '"text" is empty.')


def test_only_the_first_bad_rows_are_listed_and_all_are_counted(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["text"], *([" "] for _ in range(50))])
    report = predict_table(predictor, source, out=tmp_path / "out.csv", chunk=8)
    assert (report.rows, report.answered, len(report.bad)) == (50, 0, 10)
    assert len(read_csv(tmp_path / "out.csv")) == 50


def test_the_output_may_be_the_input(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["text"], *([text] for text in TEXTS)])
    predict_table(predictor, source, out=source, chunk=2)
    assert [row["text"] for row in read_csv(source)] == TEXTS


def test_a_link_stays_a_link_and_a_device_is_written_to(predictor: Predictor, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [["text"], ["good"]])
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    predict_table(predictor, source, out=tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert read_csv(tmp_path / "real.csv")[0]["label"] in LABELS
    assert predict_table(predictor, source, out=Path("/dev/null")).answered == 1


def test_a_header_without_rows_gives_a_header_without_rows(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n")
    report = predict_table(predictor, tmp_path / "in.csv", out=tmp_path / "out.csv")
    assert report.rows == 0
    assert (tmp_path / "out.csv").read_text() == "text,label,probability,score.negative,score.positive,error\n"


def test_chunks_do_not_change_answers(predictor: Predictor, tmp_path: Path) -> None:
    words = " ".join(TEXTS).split()
    texts = [" ".join(words[i % 7 : i % 7 + 1 + i % 9]) for i in range(101)]
    source = write_csv(tmp_path / "in.csv", [["text"], *([text] for text in texts)])
    seen: dict[int, list[float]] = {}
    for chunk in (1, 7, 2048):
        done: list[int] = []
        predict_table(predictor, source, out=tmp_path / "out.jsonl", chunk=chunk, progress=done.append)
        seen[chunk] = [row["probability"] for row in read_jsonl(tmp_path / "out.jsonl")]
        assert done[-1] == 101
        assert len(done) == -(-101 // chunk)
    assert seen[1] == pytest.approx(seen[2048], abs=1e-5)
    assert seen[7] == pytest.approx(seen[2048], abs=1e-5)


def test_the_trained_column_name_is_read_and_the_role_will_do(predictor: Predictor, tmp_path: Path) -> None:
    other = load(make_bundle(tmp_path, column="review"))
    assert _answered(other, tmp_path, ["review"]).answered == 1
    assert _answered(other, tmp_path, ["text"]).answered == 1
    with pytest.raises(DataError, match='column "review" does not exist'):
        _answered(other, tmp_path, ["title"])


def _answered(predictor: Predictor, folder: Path, header: list[str]) -> TableReport:
    source = write_csv(folder / "in.csv", [header, ["good"]])
    return predict_table(predictor, source, out=folder / "out.csv")
