"""The benchmark's arguments, arithmetic and output, on made-up figures; nothing is timed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [
        n
        for n in sys.modules
        if n
        in {"training", "measurement", "tables", "machine", "quality", "generation", "inference", "methods", "rows"}
        or n.split(".")[0] == "contestants"
    ]:
        del sys.modules[name]


def made_up(rows=100, seconds=10.0, **other):
    from contestants.job import Measured

    return Measured(
        **{
            "rows": rows,
            "tokens": 2500,
            "padded_tokens": 10000,
            "steps": 5,
            "seconds": seconds,
            "cpu_seconds": 2 * seconds,
            "parameters": 10_000_000,
            **other,
        }
    )


def summary(whole=None):
    from tables import summarise

    rounds = {
        "script": [made_up(seconds=10.0), made_up(seconds=20.0), made_up(seconds=5.0)],
        "luthier": [made_up(rows=1000, padded_tokens=2500), made_up(rows=3000), made_up(rows=2000)],
    }
    return summarise(rounds, whole or {}, {"bf16": [4e11, 5e11], "fp32": [1e11, 0.9e11]})


def test_the_summary_takes_medians_and_ratios():
    found = summary()
    assert found["ratios"] == {"luthier/script": 20.0}
    assert found["contestants"]["script"]["rows_per_second"] == {
        "median": 10.0,
        "min": 5.0,
        "max": 20.0,
        "rounds": [10.0, 5.0, 20.0],
    }
    assert found["peak_gflops"] == {"bf16": 500.0, "fp32": 100.0}
    # 6 x 10 million parameters x 2,500 tokens in 10 s = 15 GFLOP/s of 500
    assert found["contestants"]["luthier"]["share_of_peak"] == 0.03
    assert found["contestants"]["script"]["padding_share"] == 0.75
    assert found["contestants"]["luthier"]["cpu_seconds_per_second"] == 2.0
    json.dumps(found)


def test_without_luthier_there_are_no_ratios():
    from tables import summarise, table

    found = summarise({"script": [made_up()]}, {}, {"bf16": [1e11], "fp32": [1e11]})
    assert found["ratios"] == {}
    assert table(found).splitlines()[-1].endswith("| 10.0 (10.0 to 10.0) |  | 75.0% | 15.0% |")


def test_the_table_is_markdown_with_equal_columns():
    from tables import table

    lines = table(summary()).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| 10.0 (5.0 to 20.0) | 20.00 | 75.0% |" in lines[2]
    assert "200.0 (100.0 to 300.0)" in lines[3]


def test_accuracy_comes_with_wilsons_interval():
    from tables import table

    found = summary({"luthier": made_up(correct=850, tested=1000)})
    whole = found["contestants"]["luthier"]["whole_run"]
    assert whole["accuracy"] == 0.85
    assert whole["accuracy_interval"] == [0.8265, 0.8708]  # Wilson 1927 by hand, z = 1.96
    lines = table(found).splitlines()
    assert "0.850 (0.827 to 0.871)" in lines[-1]
    assert len({line.count("|") for line in lines}) == 1


def test_a_section_is_added_once_and_then_replaced(tmp_path):
    from tables import write_section

    page = tmp_path / "docs" / "benchmarks.md"
    write_section(page, "training", "one")
    page.write_text(page.read_text() + "\nwritten by hand\n")
    write_section(page, "training", "two")
    write_section(page, "serving", "three")
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n<!-- training:begin -->\ntwo\n<!-- training:end -->\n\nwritten by hand\n")
    assert text.endswith("<!-- serving:begin -->\nthree\n<!-- serving:end -->\n")
    assert "one" not in text


def test_a_page_quotes_machine_date_and_command():
    from tables import section

    machine = {"processor": "Fast 9000", "cores": 4, "memory_gib": 8.0, "system": "Linux", "torch": "2.13.0"}
    setup = {
        "command": "python benchmarks/training.py",
        "date": "2025-01-02",
        "rounds": 3,
        "warm_steps": 5,
        "threads": 4,
    }
    text = section({**summary(), "machine": machine, "setup": setup})
    for part in ("Fast 9000", "2025-01-02", "`python benchmarks/training.py`", "torch 2.13.0", "500 GFLOP/s", "| ---"):
        assert part in text


def test_default_arguments():
    from contestants import NAMES
    from training import arguments

    options = arguments([])
    assert (options.rounds, options.rows, options.accuracy, options.json) == (3, 1500, False, False)
    assert options.only == list(NAMES)
    assert options.rows_sorted % (32 * 50) == 0  # whole megabatches of the length-grouped sampler


def test_contestants_keep_their_order_whatever_is_asked():
    from training import arguments

    assert arguments(["--only", "luthier,script"]).only == ["script", "luthier"]


@pytest.mark.parametrize("given", [["--only", "keras"], ["--rounds", "0"], ["--rows", "many"]])
def test_wrong_arguments_are_refused(given, capsys):
    from training import arguments

    with pytest.raises(SystemExit):
        arguments(given)
    assert given[1] in capsys.readouterr().err


def test_json_alone_is_one_line(capsys):
    from training import arguments, report

    report(summary(), arguments(["--json"]))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["ratios"] == {"luthier/script": 20.0}


def job(**other):
    from contestants.job import Job

    values = {
        "project": "p.yaml",
        "model": "m",
        "texts": "t.json",
        "max_length": 512,
        "padded_length": 128,
        "threads": 1,
        "seed": 13,
        "warm_steps": 2,
        "rows": 20,
        "whole": False,
        "epochs": 3,
        "folder": "f",
    }
    return Job(**{**values, **other})


def test_a_job_survives_its_file(tmp_path):
    from contestants.job import Job

    path = tmp_path / "job.json"
    job().write(path)
    assert Job.read(path) == job()


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    from contestants import job as module

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

        def process_time(self):
            return 2 * self.now

    moved = Clock()
    monkeypatch.setattr(module, "time", moved)
    return moved


def walked(clock, one_job):
    """A run of batches of 10 rows with 50 tokens padded to 80, made one ahead of their steps of 1, 2, 3 ... seconds."""
    from contestants.job import Meter

    meter = Meter(one_job)
    meter.start()
    meter.batch(10, 50, 80)
    for step in range(1, 8):
        meter.batch(10, 50, 80)
        clock.now += step
        if meter.step():
            break
    return meter


def test_the_meter_leaves_out_the_warm_up_and_batches_made_ahead(clock):
    measured = walked(clock, job()).measured(7)
    assert (measured.steps, measured.rows, measured.tokens, measured.padded_tokens) == (2, 20, 100, 160)
    assert measured.seconds == 3 + 4
    assert measured.cpu_seconds == 14
    assert measured.flops_per_second == pytest.approx(6 * 7 * 100 / 7)


def test_a_whole_run_counts_from_the_first_batch(clock):
    measured = walked(clock, job(whole=True)).measured(7)
    assert (measured.steps, measured.rows, measured.seconds) == (7, 70, 28.0)


def test_checkpoints_count_and_validation_does_not(clock):
    meter = walked(clock, job())
    clock.now += 0.5
    meter.extend()
    clock.now += 100
    meter.skip(100, 200)
    meter.batch(10, 50, 80)
    clock.now += 1
    meter.step()
    measured = meter.measured(7)
    assert (measured.steps, measured.seconds, measured.cpu_seconds) == (3, 8.5, 17.0)


def test_embeddings_and_frozen_parameters_are_no_work():
    torch = pytest.importorskip("torch")
    from contestants.job import non_embedding

    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    model[2].requires_grad_(False)
    assert non_embedding(model) == 4 * 3 + 3


def test_a_busy_machine_is_named(monkeypatch, capsys, tmp_path):
    import measurement
    import training

    monkeypatch.setattr(measurement.os, "getloadavg", lambda: (3.0, 0, 0))
    monkeypatch.setattr(training, "prepare", lambda options, folder: job())
    asked = []

    def measure(name, one_job):
        asked.append((name, one_job.rows, one_job.seed, one_job.whole))
        return replace(made_up(), correct=1, tested=2) if one_job.whole else made_up()

    monkeypatch.setattr(training, "measure", measure)
    figures = {"bf16": 1e11, "fp32": 1e11, "machine": {"processor": "x", "cores": 1, "memory_gib": 1, "system": "y"}}
    monkeypatch.setattr(training, "machine_and_peaks", lambda threads: figures)
    page = tmp_path / "benchmarks.md"
    given = ["--rounds", "2", "--only", "trainer,luthier", "--accuracy", "--rows", "9", "--rows-sorted", "11"]
    training.main([*given, "--write", str(page)])
    printed = capsys.readouterr()
    assert "not idle" in printed.err
    assert asked == [
        ("trainer", 9, 13, False),
        ("luthier", 11, 13, False),
        ("trainer", 9, 14, False),
        ("luthier", 11, 14, False),
        ("trainer", 9, 13, False),
        ("luthier", 9, 13, True),
        ("trainer", 9, 14, False),
        ("luthier", 9, 14, True),
        ("trainer", 20, 13, True),
        ("luthier", 20, 13, True),
    ]
    assert json.loads(printed.out.splitlines()[-1])["setup"]["load_at_start"] == 3.0
    assert "| 0.500 (" in page.read_text()
    assert "**The head alone**" in page.read_text()


def test_a_lower_accuracy_is_not_called_equal():
    from tables import verdict

    assert "not" in verdict(-1.3, 0.2)
    assert "better" in verdict(1.3, 0.2)
    assert "within" in verdict(-0.3, 0.2)
    assert "luck" in verdict(-1.3, None)


def test_time_to_quality_is_compared_seed_by_seed():
    from quality import compared

    def measured(seconds: float, correct: int):
        return made_up(seconds=seconds, correct=correct, tested=100)

    found = compared([(measured(100, 80), measured(10, 82)), (measured(120, 84), measured(10, 82))])
    assert found["ratio"] == 11.0
    assert found["trainer_accuracy"] == found["luthier_accuracy"] == 0.82
    assert found["difference_points"] == [2.0, -2.0]
    assert found["difference_standard_error_points"] == 2.0
    assert compared([(measured(100, 80), measured(10, 82))])["difference_standard_error_points"] is None


def test_a_kept_measurement_is_made_once_for_each_job(tmp_path):
    from contestants.job import Job
    from measurement import kept

    made = []

    def measure(name, job):
        made.append((name, job.seed))
        return made_up(seconds=float(job.seed), correct=80, tested=100)

    job = Job("p.yaml", "model", "texts-1.json", 512, 128, 2, 13, 5, 100, True, 3, "", overrides=("train.epochs=1",))
    path = tmp_path / "kept.jsonl"
    first = kept(measure, path)("trainer", job)
    assert kept(measure, path)("trainer", replace(job, texts="texts-2.json", folder="elsewhere")) == first
    assert made == [("trainer", 13)]
    others = [("luthier", job), ("trainer", replace(job, seed=14)), ("trainer", replace(job, overrides=()))]
    for name, other in others:
        assert kept(measure, path)(name, other).seconds == other.seed
    assert made == [("trainer", 13), ("luthier", 13), ("trainer", 14), ("trainer", 13)]
    assert len(path.read_text().splitlines()) == 4


def test_joined_rows_are_as_long_as_asked_and_hold_one_label(tmp_path, home):
    from tests.tiny import build_model, project

    from training import join_rows

    path = project(tmp_path, build_model(tmp_path / "model"))
    join_rows(str(path), 40, tmp_path / "joined.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "joined.jsonl").read_text().splitlines()]
    assert len(rows) > 5
    assert {row["label"] for row in rows} == {"negative", "positive"}
    assert max(len(row["text"].split()) for row in rows) > 15


def test_rows_are_reported_with_the_command_that_made_them(monkeypatch, tmp_path, capsys):
    import rows

    sizes = {"rows": 0, "read": 1.0, "first_step": 2.0, "microseconds_per_row": 3.0, "peak_mib": 4}
    monkeypatch.setattr(rows, "run_one", lambda size: {**sizes, "rows": size})
    page = tmp_path / "benchmarks.md"
    rows.main(["--rows", "10000,20000", "--write", str(page)])
    assert [one["rows"] for one in json.loads(capsys.readouterr().out.splitlines()[-1])["sizes"]] == [10_000, 20_000]
    text = page.read_text()
    assert "| 20,000 | 1.0 | 2.0 | 3.0 | 4 |" in text
    assert "`python benchmarks/rows.py --rows 10000,20000 --write" in text


def test_a_page_says_that_others_used_the_machine():
    from tables import origin

    machine = {"processor": "x", "cores": 1, "memory_gib": 1, "system": "y"}
    how = {"command": "c", "date": "d", "load_at_start": 0.2}
    assert "not idle" not in "".join(origin(machine, how))
    assert "not idle: load 3.0" in "".join(origin(machine, {**how, "load_at_start": 3.0}))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("luthier: openvino int8", 1.0),
        ("luthier: 4 layers, openvino int8 bf16", 4 / 6),
        ("luthier: 3/4 as wide, openvino int8", 3 / 4),
        ("luthier: 4 layers, 3/4 as wide, seen tokens, onnxruntime int8", 1 / 2),
        ("pipeline, batch 16", 1.0),
    ],
)
def test_a_point_of_fewer_and_narrower_layers_does_less_work(name, share):
    from inference import share_of_layers

    assert share_of_layers(name, 6) == pytest.approx(share)


@pytest.mark.parametrize(
    ("peaks", "name", "kind"),
    [
        ({"bf16": 433.0, "fp32": 179.0, "int8": 859.0}, "inference", "bf16"),
        ({"bf16": 61.0, "fp32": 98.0, "int8": 150.0}, "inference-without-bf16", "fp32"),
    ],
)
def test_processors_with_and_without_bf16_have_a_section_each(peaks, name, kind):
    from inference import dense, place

    summary = {"peak_gflops": peaks}
    assert (place(summary)[0], dense(summary)) == (name, kind)
