"""Rows per second and latency of answers: Transformers' pipeline, scripts by hand, and every point of a search.

    luthier run recipes/movie-sentiment.yaml
    luthier compress runs/movie-sentiment --max-drop 1
    python benchmarks/inference.py runs/movie-sentiment [--rounds 3] [--json] [--write docs/benchmarks.md]

All answer the validation rows of the run, in batches and one at a time, from text to label. The contestants take turns,
each measurement in a fresh process. The test rows are not read: what the chosen point lost on them stands in the run's
report. The machine should be idle. It needs the extra `luthier[test]` and no network.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from measurement import load_now, machine_and_peaks, output_options, positive, python, setup, threads
from tables import grid, origin, write_section

Texts = Sequence[str]
Answer = Callable[[Texts], Sequence[str]]
SINGLES = 200
POINT = "luthier: "
PEERS = {
    "pipeline, batch 1": "Transformers pipeline, one row at a time",
    "pipeline, batch 16": "Transformers pipeline, batches of 16",
    "by hand, torch": "Transformers by hand: bf16 where the processor has it, sorted by length, batches of 32",
    "by hand, onnx": "ONNX Runtime by hand: fp32 graph, batches of 16",
}


@dataclass(frozen=True)
class Measured:
    """One contestant's measurement: in batches, one at a time, to the first answer from a cold start, and labels."""

    rows_per_second: float
    p50_ms: float
    p99_ms: float
    ready_seconds: float
    labels: list[str]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rows per second and latency of answers, against peers, in one run.")
    parser.add_argument("run", type=Path, help="a run's folder that `luthier compress` has searched")
    parser.add_argument("--rounds", type=positive, default=3, help="measurements of each contestant")
    parser.add_argument("--threads", type=positive, default=None, help="of every contestant; default: physical cores")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "TEXTS", "OUT"), help=argparse.SUPPRESS)
    output_options(parser)
    return parser.parse_args(given)


def contestant(name: str, run: Path) -> Answer:
    """Return what answers: texts to labels."""
    if name.startswith(POINT):
        return _luthier(name.removeprefix(POINT), run)
    folder = str(run / "bundle" / "model")
    if name == "by hand, onnx":
        return _onnx(run)
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from luthier.training.hardware import choose_precision

    if name.startswith("pipeline"):
        size = int(name.split()[-1])
        whole = pipeline("text-classification", model=folder, batch_size=size, device="cpu")
        return lambda texts: [one["label"] for one in whole(list(texts), truncation=True)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = torch.bfloat16 if choose_precision("auto", "cpu").value == "bf16" else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()

    def answer(texts: Texts) -> list[str]:
        order = np.argsort([len(text) for text in texts], kind="stable")
        found: list[str] = [""] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                part = order[start : start + 32]
                batch = tokenizer([texts[i] for i in part], padding=True, truncation=True, return_tensors="pt")
                for place, label in zip(part, model(**batch).logits.argmax(-1).tolist(), strict=True):
                    found[place] = model.config.id2label[label]
        return found

    return answer


def _luthier(point: str, run: Path) -> Answer:
    """Return a point of the search, or the run's own bundle."""
    import luthier
    from luthier.compression.search.candidates import opened

    if point == "as it is":
        predictor = luthier.load(run / "bundle")
    else:
        slug = "-".join("".join(char if char.isalnum() else " " for char in point).split())
        predictor = opened(run / "compress" / "candidates" / slug)
    return lambda texts: [one.as_dict()["label"] for one in predictor.predict(list(texts))]


def _onnx(run: Path) -> Answer:
    """Return what a careful user writes around an exported graph."""
    import onnxruntime
    from tokenizers import Tokenizer

    folder = run / "bundle" / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
    labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    session = onnxruntime.InferenceSession(str(run / "compress" / "graphs" / "as-it-is" / "model.onnx"))
    kinds = {one.name: np.int32 if one.type == "tensor(int32)" else np.int64 for one in session.get_inputs()}

    def answer(texts: Texts) -> list[str]:
        found: list[str] = []
        for start in range(0, len(texts), 16):
            encoded = tokenizer.encode_batch(list(texts[start : start + 16]))
            given = {
                "input_ids": [one.ids for one in encoded],
                "attention_mask": [one.attention_mask for one in encoded],
                "token_type_ids": [one.type_ids for one in encoded],
            }
            inputs = {name: np.asarray(given[name], kind) for name, kind in kinds.items()}
            found += [labels[str(one)] for one in session.run(None, inputs)[0].argmax(-1).tolist()]
        return found

    return answer


def measure_here(name: str, run: Path, texts: Texts) -> Measured:
    """Return one contestant's measurement, made in this process."""
    started = time.perf_counter()
    answer = contestant(name, run)
    answer(texts[:1])
    ready = time.perf_counter() - started
    answer(texts)  # warm-up: every shape was seen
    began = time.perf_counter()
    labels = answer(texts)
    rate = len(texts) / (time.perf_counter() - began)
    single = []
    for place in np.linspace(0, len(texts) - 1, SINGLES).round().astype(int):
        began = time.perf_counter()
        answer([texts[place]])
        single.append(1000 * (time.perf_counter() - began))
    low, high = np.percentile(single, [50, 99])
    return Measured(rate, float(low), float(high), ready, list(labels))


def measure(name: str, options: argparse.Namespace, texts: Path) -> Measured:
    """Return one contestant's measurement, made in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        out = Path(folder) / "out.json"
        command = [str(Path(__file__).resolve()), str(options.run.resolve()), "--one", name, str(texts), str(out)]
        python(command, threads(options))
        found = Measured(**json.loads(out.read_text(encoding="utf-8")))
    print(f"  {name}: {found.rows_per_second:.0f} rows/s, p50 {found.p50_ms:.1f} ms", file=sys.stderr, flush=True)
    return found


def rows_of(run: Path) -> tuple[list[str], list[str]]:
    """Return the validation rows' texts and labels."""
    from luthier.artifacts.run import RunDir
    from luthier.pipeline.resuming import reopened

    prepared = reopened(RunDir(run.resolve()))
    dataset, task = prepared.dataset, prepared.task
    labels = task.output_labels(dataset.targets)
    truth = [labels[number] for number in dataset.truth("validation", task).number]
    return [str(row["text"]) for row in dataset.inputs_of("validation", task)], truth


def figures(
    rounds: Mapping[str, Sequence[Measured]], truth: Sequence[str], sizes: Mapping[str, int], work: Mapping[str, float]
) -> dict[str, Any]:
    """Return each contestant's medians, its ratio to the pipeline, and what its answers lost beside the pipeline's.

    Args:
        rounds: `{contestant: its measurement of each round}`.
        truth: (N,) labels.
        sizes: bytes of the points' bundles.
        work: FLOPs of one row, by contestant; see `work_of`.
    """
    reference = rounds["pipeline, batch 1"][0].labels
    right = float(np.mean([a == b for a, b in zip(reference, truth, strict=True)]))
    pipeline = statistics.median(one.rows_per_second for one in rounds["pipeline, batch 16"])
    found = {}
    for name, measured in rounds.items():
        rate = statistics.median(one.rows_per_second for one in measured)
        labels = measured[0].labels
        accuracy = float(np.mean([a == b for a, b in zip(labels, truth, strict=True)]))
        found[name] = {
            "rows_per_second": round(rate, 1),
            "rounds": [round(one.rows_per_second, 1) for one in measured],
            "ratio": round(rate / pipeline, 2),
            "p50_ms": round(statistics.median(one.p50_ms for one in measured), 2),
            "p99_ms": round(statistics.median(one.p99_ms for one in measured), 2),
            "ready_seconds": round(statistics.median(one.ready_seconds for one in measured), 2),
            "accuracy": round(accuracy, 4),
            "drop_points": round(100 * (right - accuracy), 2),
            "flips": round(float(np.mean([a != b for a, b in zip(labels, reference, strict=True)])), 4),
            "bytes": sizes.get(name),
            "gflops": round(rate * work[name] / 1e9, 1) if name in work else None,
        }
    return found


def work_of(run: Path, points: Sequence[str], tokens: float) -> dict[str, float]:
    """Return the FLOPs of a row: two per parameter outside the embeddings and real token; padding is no work."""
    from safetensors import safe_open

    config = json.loads((run / "bundle" / "model" / "config.json").read_text(encoding="utf-8"))
    depth = int(config["num_hidden_layers"])
    layers = rest = 0
    with safe_open(run / "bundle" / "model" / "model.safetensors", framework="numpy") as reader:
        for name in reader.keys():  # noqa: SIM118  # it is no mapping
            size = int(np.prod(reader.get_slice(name).get_shape()))
            layers += size if ".layer." in name else 0
            rest += 0 if ".layer." in name or "embeddings" in name else size
    found = {}
    for name in (*PEERS, *points):
        found[name] = 2 * tokens * layers * share_of_layers(name, depth) + 2 * rest
    return found


def share_of_layers(name: str, depth: int) -> float:
    """Return the share of the layers' parameters that a point has, by its name.

    Args:
        name: such as `4 layers, 3/4 as wide, openvino int8`.
        depth: layers of the whole model.
    """
    share = 1.0
    for part in name.removeprefix(POINT).split(", "):
        if found := re.fullmatch(r"(\d+) layers", part):
            share *= int(found[1]) / depth
        elif found := re.fullmatch(r"(?:low rank )?(\d+)/(\d+)(?: as wide)?", part):
            share *= int(found[1]) / int(found[2])
    return share


def dense(summary: Mapping[str, Any]) -> str:
    """Return the faster of the two precisions that lose next to nothing: `bf16` where the processor has it."""
    return max(("bf16", "fp32"), key=lambda kind: float(summary["peak_gflops"][kind]))


def place(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the heading of the section: processors with and without bf16 have one each."""
    if dense(summary) == "bf16":
        return "inference", "Answering"
    return "inference-without-bf16", "Answering on a processor without bf16"


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    kinds = (dense(summary), "int8")
    head = [
        "",
        "rows/s",
        "times the pipeline",
        "p50 / p99, ms",
        "ready, s",
        "points lost",
        "changed",
        "MB",
        f"of {kinds[0]} peak",
        "of int8 peak",
    ]
    peaks = summary["peak_gflops"]
    lines = []
    for name, one in summary["contestants"].items():
        shares = ["" if one["gflops"] is None else f"{one['gflops'] / peaks[kind]:.0%}" for kind in kinds]
        lines.append(
            [
                PEERS.get(name, name),
                f"{one['rows_per_second']:,.0f}",
                f"{one['ratio']:.2f}",
                f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}",
                f"{one['ready_seconds']:.1f}",
                f"{one['drop_points']:+.2f}",
                f"{one['flips']:.1%}",
                "" if one["bytes"] is None else f"{one['bytes'] / 1e6:.1f}",
                shares[0],
                shares[1] if "int8" in name and peaks["int8"] > peaks[kinds[0]] else "",
            ]
        )
    return grid(head, lines)


def section(summary: Mapping[str, Any]) -> str:
    """Return the table with all that its reader must know."""
    how, peaks = summary["setup"], summary["peak_gflops"]
    return "\n".join(
        [
            f"## {place(summary)[1]}",
            "",
            f"The bundle of `recipes/movie-sentiment.yaml` and the points that `luthier compress` found, on the "
            f"{summary['rows']:,} validation rows ({summary['tokens_per_row']:.1f} tokens a row), from text to label. "
            f"Medians; the contestants take turns, each measurement in a process of its own; rounds: {how['rounds']}. "
            "Points lost and answers changed are against the pipeline, on these rows. Ready: from loading to the first "
            "answer. Share of the peak: two operations per parameter outside the embeddings and real token, over the "
            f"best matrix product (thousand million a second: bf16 {peaks['bf16']:.0f}, fp32 {peaks['fp32']:.0f}, int8 "
            f"{peaks['int8']:.0f}); tokenising counts in the time and not in the work.",
            "",
            table(summary),
            "",
            *origin(summary["machine"], how, "onnxruntime", "openvino"),
        ]
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print one table and one JSON line."""
    options = arguments(given)
    if options.one:
        name, texts, out = options.one
        rows = json.loads(Path(texts).read_text(encoding="utf-8"))
        Path(out).write_text(json.dumps(asdict(measure_here(name, options.run, rows))), encoding="utf-8")
        return
    from luthier.artifacts.compression import CompressionReport
    from luthier.data.text import TextEncoder

    load = load_now()
    texts, truth = rows_of(options.run)
    points = {f"{POINT}{one.name}": one.bytes for one in CompressionReport.read(_report(options.run)).points}
    encoder = TextEncoder(options.run / "bundle" / "model", max_length=512)
    tokens = float(np.mean([len(one.ids) for one in encoder.encode(texts)]))
    rounds: dict[str, list[Measured]] = {name: [] for name in (*PEERS, *points)}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts), encoding="utf-8")
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for name, found in rounds.items():
                found.append(measure(name, options, path))
    machine = machine_and_peaks(threads(options))
    contestants = figures(rounds, truth, points, work_of(options.run, list(points), tokens))
    summary = {
        "benchmark": "inference",
        "pipeline_rows_per_second": contestants["pipeline, batch 16"]["rows_per_second"],
        "contestants": contestants,
        "rows": len(texts),
        "tokens_per_row": tokens,
        "peak_gflops": {name: round(machine[name] / 1e9, 1) for name in ("bf16", "fp32", "int8")},
        "machine": machine["machine"],
        "setup": setup("inference.py", given, load, rounds=options.rounds, threads=threads(options)),
    }
    if options.write:
        write_section(options.write, place(summary)[0], section(summary))
    if not options.json:
        print(section(summary))
    print(json.dumps(summary))


def _report(run: Path) -> Path:
    return run / "compress" / "compression.json"


if __name__ == "__main__":
    main()
