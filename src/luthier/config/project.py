"""What a user may write in a project file: every key with its type, bound, unit, default and consequence.

The models are frozen, refuse unknown keys, and convert nothing: a number in quotes is text, `true` is not 1. The one
exception is that a whole number may stand where a number may. The reference page (`docs/reference/project.md`), the
JSON Schema and the sentences of `luthier check` are all made from this file.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Strict, Tag, ValidationInfo, field_validator

from luthier.config.values import (
    Block,
    ClassWeights,
    Decay,
    Labels,
    Named,
    Text,
    Texts,
    Unit,
    Words,
    label_name,
    labels_fit,
    wrong,
)

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]+)?)$"

Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN, max_length=64),
    Words('lower-case letters, digits, ".", "_" and "-", starting with a letter or a digit, at most 64 in all'),
]
Device = Annotated[
    str, Field(pattern=DEVICE_PATTERN), Words('auto, cpu, mps, cuda or xpu, or one of several such as "cuda:1"')
]


def _whole_number(value: Any) -> Any:
    if type(value) is not int:  # true and 1.0 are equal to 1
        raise wrong("1")
    return value


Version = Annotated[Literal[1], BeforeValidator(_whole_number)]

# Keys of later versions, refused as "not in this version" rather than as a slip of the pen.
LATER_KEYS = (
    "pretrain",
    "search",
    "ensemble",
    "serve",
    "monitor",
    "stages",
    "tasks",
    "distil",
    "scale",
    "preference",
)


# --- model ----------------------------------------------------------------------------------------------------------


class ModelSpec(Block):
    """Where the pretrained model comes from and how it reads a text."""

    id: Text = Field(
        description="`sample:NAME`, a local folder (relative to the project file), or a Hugging Face id; "
        "it must be a plain Transformers folder with safetensors weights."
    )
    max_length: Annotated[int, Unit("tokens")] | None = Field(
        default=None,
        ge=8,
        description="Longer texts are cut to this many tokens, special tokens included; time and memory grow with it. "
        "null takes the model's own limit, at most 512.",
    )
    truncation_side: Literal["right", "left"] = Field(
        default="right",
        description="The end at which a text that is too long loses its tokens; the bundle cuts the same way.",
    )
    pooling: Literal["auto", "first", "last", "mean"] = Field(
        default="auto",
        description="How token vectors become one vector for the head: the first token, the last one, or the mean; "
        "auto takes what the model was trained with.",
    )
    revision: Text | None = Field(
        default=None,
        description="A commit, tag or branch of a Hugging Face id; null takes the newest, which may change under you.",
    )

    @field_validator("revision")
    @classmethod
    def _revision_is_read(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("id", "").startswith(("sample:", ".", "/", "~")):
            raise wrong("left out where model.id is a sample or a folder, which has no revisions")
        return value


# --- data -----------------------------------------------------------------------------------------------------------


class SplitSpec(Block):
    """How rows are cut where no file is given for a part; the two shares are at most 0.95 together."""

    test: Annotated[float, Unit("share of the rows in data.train")] = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="Kept out of training and read once, at the end; 0 where `data.test` is given.",
    )
    validation: Annotated[float, Unit("share of the rows in data.train")] = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Kept out of training to choose the best checkpoint and to calibrate; "
        "0 only where `data.validation` is given.",
    )
    seed: int = Field(
        default=13,
        ge=0,
        le=2**32 - 1,
        description="Another seed puts other rows into the splits; adding rows with the same seed moves none.",
    )
    stratified: bool = Field(
        default=False,
        description="Give every label the same shares, exactly; adding rows may then move some from split to split.",
    )

    @field_validator("validation")
    @classmethod
    def _leaves_rows(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("test", 0.0) > 0.95 + 1e-9:  # 0.9 + 0.05 is a little more than 0.95
            raise wrong("at most 0.95 together with split.test, or no rows are left to train on")
        return value


class DataSpec(Block):
    """Which rows to learn from, and what their columns mean."""

    train: Text = Field(
        description="`sample:NAME`, a file (relative to the project file), or a Hugging Face data set id; "
        "the rows to learn from."
    )
    validation: Text | None = Field(
        default=None,
        description="A file, sample or data set with the validation rows; null cuts `split.validation` off `train`.",
    )
    test: Text | None = Field(
        default=None,
        description="A file, sample or data set with the test rows; null cuts `split.test` off `train`.",
    )
    columns: Mapping[str, Text] | None = Field(
        default=None,
        min_length=1,
        description="A mapping from each role of the task to the column that plays it, each its own; other columns "
        "teach nothing. null reads every role from the column of its own name.",
    )
    labels: Labels | None = Field(
        default=None,
        description="The labels in the order the model numbers them, or a mapping from a value in the data to the name "
        "to show (several values may share a name); null takes the sorted labels of the training rows.",
    )
    group: Text | None = Field(
        default=None,
        description="A column, such as a customer number, whose equal values always land in the same split; "
        "null keeps only equal texts together.",
    )
    split: SplitSpec = Field(default=SplitSpec(), description="How `train` is cut where no file is given for a part.")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "arrow"] = Field(
        default="auto", description="How the files are written; auto goes by the file's ending."
    )
    delimiter: Annotated[str, Words("one character")] | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="The character between the cells of a CSV file; null takes a comma (a tab for TSV).",
    )
    encoding: str = Field(
        default="utf-8",
        min_length=1,
        description="The character encoding of text files; a byte that does not fit is a bad row, never guessed.",
    )
    bad_rows: Literal["error", "skip"] = Field(
        default="error",
        description="What a row that cannot be read does: stop with its number, or be left out, counted and reported.",
    )
    limit: Annotated[int, Unit("rows")] | None = Field(
        default=None,
        ge=1,
        description="Read only the first rows of each source, for a quick try; null reads all. Shuffle a file that is "
        "sorted by label first.",
    )

    @field_validator("labels")
    @classmethod
    def _labels_fit(cls, value: Any) -> Any:
        return labels_fit(value)

    @field_validator("split")
    @classmethod
    def _split_or_file(cls, split: SplitSpec, info: ValidationInfo) -> SplitSpec:
        for part in ("test", "validation"):
            share = getattr(split, part)
            if info.data.get(part) is not None and part in split.model_fields_set and share > 0:
                raise wrong(f"left out where data.{part} is given", fix="Keep one of the two.", at=(part,))
        if split.validation == 0 and "validation" in info.data and info.data["validation"] is None:
            raise wrong("above 0 unless data.validation is given", at=("validation",))
        return split

    @field_validator("delimiter")
    @classmethod
    def _delimiter_is_read(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("format") not in (None, "auto", "csv"):
            raise wrong(f"left out where data.format is {info.data['format']}, which has no delimiter to choose")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str, info: ValidationInfo) -> str:
        if value != "utf-8" and info.data.get("format") in ("parquet", "arrow"):
            raise wrong(f"left out where data.format is {info.data['format']}, which has no encoding to choose")
        try:
            known = codecs.lookup(value)._is_text_encoding
        except LookupError:
            known = False
        if not known:
            raise wrong('the name of a text encoding, such as "utf-8", "gb18030" or "latin-1"')
        return value


# --- train ----------------------------------------------------------------------------------------------------------


class EarlyStoppingSpec(Block):
    """When to stop before the last epoch."""

    patience: Annotated[int, Unit("validations")] = Field(
        ge=1, description="Training stops after this many validations in a row without a better metric."
    )
    min_delta: Annotated[float, Unit("of the metric")] = Field(
        default=0.0, ge=0, description="How much better a metric must be to count as better."
    )


class TrainSpec(Block):
    """How the weights are moved."""

    epochs: Annotated[int, Unit("passes over the training rows")] = Field(
        default=3, ge=1, description="Time grows in proportion; small data needs more of them."
    )
    learning_rate: float = Field(
        default=1e-4,
        gt=0,
        le=1,
        description="Peak step size of AdamW; too high diverges, too low learns nothing. "
        "2e-5 to 2e-4 suits full fine-tuning, 1e-4 to 1e-3 a small adapter.",
    )
    batch_tokens: Annotated[int, Unit("tokens, padding included")] = Field(
        default=1024,
        ge=16,
        description="Size of one optimiser step over all processes; larger steps are smoother, fewer, "
        "and take more memory.",
    )
    accumulate: Annotated[int, Unit("micro-batches")] = Field(
        default=1,
        ge=1,
        description="Cut each optimiser step into this many parts: less memory, more time, the same sums.",
    )
    memory_mib: Annotated[float, Unit("MiB of the whole process")] | None = Field(
        default=None,
        ge=256,
        description="A budget of memory: each step is cut into as few micro-batches as stay within it, measured with "
        "the heaviest step before training; null takes `accumulate` as it is.",
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="How the learning rate goes down to zero after the warm-up, or stays."
    )
    warmup: Annotated[float, Unit("share of the optimiser steps")] = Field(
        default=0.06, ge=0, lt=1, description="The learning rate rises from zero over these first steps."
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Pulls weights towards zero at each step (not biases or norms); more means less overfitting.",
    )
    betas: Annotated[tuple[Decay, Decay], Strict(False), Words("a list of 2 numbers, each at least 0 and below 1")] = (
        Field(
            default=(0.9, 0.999),
            description="AdamW's memories of the gradient and of its square; closer to 1 is longer.",
        )
    )
    epsilon: float = Field(
        default=1e-8, gt=0, le=1, description="Added to AdamW's denominator; larger damps rare, small gradients."
    )
    clip_norm: float | None = Field(
        default=1.0,
        gt=0,
        description="Gradients longer than this are shortened to it, which keeps one odd batch from doing harm; "
        "null does not clip.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each target spread over all labels; helps against noisy labels, blurs probabilities.",
    )
    class_weights: ClassWeights = Field(
        default="none",
        description="Weight of each label's rows in the loss: none, balanced (by inverse frequency, so rare labels "
        "count more), or a mapping from label name to weight.",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of activations zeroed in training; 0 is about a fifth faster on a CPU; "
        "null keeps the model's own.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Number format of the matrix products; auto takes bf16 where the processor does it in hardware.",
    )
    attention: Literal["auto", "eager", "sdpa"] = Field(
        default="auto",
        description="Which attention kernel; auto takes eager for short rows on a CPU, the fused one elsewhere.",
    )
    device: Device = Field(
        default="auto", description="Where to compute; auto takes an accelerator where there is one."
    )
    threads: Annotated[int, Unit("processor threads")] | None = Field(
        default=None,
        ge=1,
        description="How many threads compute; null takes as many as PyTorch would. Another number may change bits.",
    )
    lanes: Annotated[int, Unit("parts of a micro-batch")] | None = Field(
        default=None,
        ge=1,
        description="How many parts of a micro-batch are computed side by side on a CPU, each with its share of the "
        "threads and a copy of the gradient; null takes one a thread for batches that are large enough. Another number "
        "may change bits.",
    )
    shard: Literal["none", "fsdp"] = Field(
        default="none",
        description="What each of several processes (torchrun) holds: none, the whole model; fsdp, a part of every "
        "parameter, gradient and optimiser state, so that a model trains that is too large for one device.",
    )
    window: Annotated[int, Unit("batches")] = Field(
        default=50,
        ge=1,
        description="Rows are sorted by length inside shuffled windows of this many batches: larger pads less, "
        "smaller mixes better.",
    )
    cache_frozen: bool = Field(
        default=True,
        description="Compute the states of layers that never train once, without dropout, and read them from disk in "
        "every later epoch, where the method freezes layers and the disk has room.",
    )
    validations_per_epoch: Annotated[int, Unit("validations")] = Field(
        default=1,
        ge=1,
        description="How often the validation rows are predicted to find the best checkpoint; each costs time.",
    )
    select_by: Text | None = Field(
        default=None,
        description="The validation metric that picks the best checkpoint; null takes the task's own.",
    )
    early_stopping: EarlyStoppingSpec | None = Field(
        default=None, description="When to stop before the last epoch; null trains them all."
    )
    skip_non_finite: Annotated[int, Unit("optimiser steps")] = Field(
        default=0,
        ge=0,
        description="How many steps whose loss or gradient is not finite are left out, and counted, before training "
        "stops; 0 stops at the first.",
    )
    checkpoint_seconds: Annotated[float, Unit("seconds of work")] = Field(
        default=20.0,
        gt=0,
        description="How often a checkpoint is written; a killed run repeats at most this much.",
    )
    keep_checkpoints: Annotated[int, Unit("checkpoints")] = Field(
        default=2, ge=1, description="How many checkpoints stay on disk; with 1, a damaged one means starting over."
    )


# --- the other stages -----------------------------------------------------------------------------------------------


class CheckSpec(Block):
    """What the check looks at before training, and what stops the run."""

    stop_on: Literal["error", "warning", "never"] = Field(
        default="error", description="The mildest finding that stops the run; never only reports."
    )
    ignore: Texts = Field(default=(), description="Codes of findings that are still reported but stop nothing.")
    near_duplicate_threshold: Annotated[float, Unit("similarity, from 0 to 1")] = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Texts at least this alike (Jaccard similarity of their character groups) are near duplicates.",
    )
    sample: Annotated[int, Unit("rows")] = Field(
        default=200_000,
        ge=100,
        description="The near-duplicate search looks at this many rows at most; the finding says so where it cuts.",
    )
    steps: Annotated[int, Unit("optimiser steps")] = Field(
        default=3, ge=1, description="Real steps measured, and undone, to estimate time and memory."
    )


class EvaluateSpec(Block):
    """What is measured on the test rows."""

    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Coverage of the intervals around each headline number."
    )
    resamples: Annotated[int, Unit("bootstrap resamples")] = Field(
        default=2000, ge=100, description="More of them make the intervals steadier and take longer."
    )
    slices: Texts = Field(
        default=(), description="Columns for whose values the metrics are also given, beside length and label."
    )
    mistakes: Annotated[int, Unit("rows")] = Field(
        default=30, ge=0, description="How many of the most confident mistakes the report shows, with their texts."
    )
    bins: Annotated[int, Unit("bins")] = Field(
        default=15, ge=2, le=100, description="Bins of the reliability diagram and of the calibration error."
    )
    answers: Annotated[int, Unit("rows")] = Field(
        default=100,
        ge=0,
        description="For how many test rows a model that writes text writes its answers, to compare them with the true "
        "ones; more are surer and slower.",
    )
    metrics: Texts = Field(
        default=(),
        description="Metrics of your own for a model that writes text, as `module:function`: it takes the answers and "
        "the true texts, two lists, and returns a number; higher is better. The module lies beside the project file or "
        "is installed.",
    )
    baselines: Texts = Field(
        default=("auto",),
        description="Simple models on the same rows, shown in the same table; auto takes all that the task has.",
    )


class BundleSpec(Block):
    """What goes into the bundle beside the model."""

    golden_examples: Annotated[int, Unit("examples")] = Field(
        default=32,
        ge=4,
        description="Inputs kept with their outputs and replayed at every load; more find more and load slower.",
    )
    licence: Text | None = Field(
        default=None, description="The licence written into the model card; null writes the base model's alone."
    )


class CompressSpec(Block):
    """What a compressed model may lose and must reach; of the points that keep it the fastest or smallest is taken."""

    max_drop: Annotated[float, Unit("points of the headline metric, hundredths")] = Field(
        default=0.5, ge=0, le=100, description="How much of the headline metric may be lost, on average over the rows."
    )
    confidence: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="Where set, not the mean loss but its one-sided upper bound (paired bootstrap) must keep max_drop.",
    )
    max_flips: Annotated[float, Unit("share of the rows, from 0 to 1")] | None = Field(
        default=None, ge=0, le=1, description="How many answers may change."
    )
    max_calibration_drift: Annotated[float, Unit("points")] | None = Field(
        default=None, ge=0, description="By how much the expected calibration error may rise."
    )
    max_slice_drop: Annotated[float, Unit("points of the headline metric")] | None = Field(
        default=None, ge=0, description="How much any slice of the rows (see evaluate.slices) may lose."
    )
    rows_per_second: Annotated[float, Unit("rows per second")] | None = Field(
        default=None, gt=0, description="At least so many, in batches."
    )
    p95_ms: Annotated[float, Unit("milliseconds")] | None = Field(
        default=None, gt=0, description="95 of 100 single requests are answered at least so soon."
    )
    mib: Annotated[float, Unit("MiB")] | None = Field(
        default=None, gt=0, description="Most bytes that all files of the bundle may take."
    )
    prefer: Literal["speed", "size"] = Field(
        default="speed", description="What is sought among the points that keep all of it."
    )
    moves: Literal["all", "forms"] = Field(
        default="all",
        description="What is tried: forms alone (runtimes and precisions), or smaller vocabularies too, and models "
        "with fewer, narrower and thinner layers, which learn from the whole one.",
    )
    epochs: Annotated[int, Unit("passes over the training rows")] = Field(
        default=6, ge=1, description="How long a smaller model learns from the whole one."
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="The peak of it, there.")
    relations: Annotated[float, Unit("times the answers")] = Field(
        default=1.0,
        ge=0,
        description="Weight of the relations between tokens (MiniLMv2) beside the answers, where a smaller model "
        "learns; 0 leaves them out.",
    )
    seconds: Annotated[float, Unit("seconds")] = Field(
        default=1800.0, gt=0, description="Of work, after which the search begins nothing new."
    )


class ReportSpec(Block):
    """How the report is written."""

    language: Literal["en", "zh"] = Field(default="en", description="The language of the report: English or Chinese.")


# --- trackers -------------------------------------------------------------------------------------------------------


class TensorBoardSpec(Block):
    """TensorBoard."""

    folder: Text | None = Field(
        default=None,
        description="A folder that runs of several projects share, each in a folder of its own; "
        "null takes `train/tensorboard/` of the run's folder.",
    )


class WandbSpec(Block):
    """Weights & Biases."""

    mode: Literal["offline", "online"] = Field(
        default="offline",
        description="offline writes into the run's folder alone, for `wandb sync`; online sends while training.",
    )
    project: Text = Field(default="luthier", description="The project there that runs are listed under.")
    team: Text | None = Field(default=None, description="The team or user there; null takes your own.")


class MlflowSpec(Block):
    """MLflow."""

    uri: Text | None = Field(
        default=None,
        description="The store, such as `sqlite:///mlflow.db` or a server's address; "
        "null takes `mlruns/` beside the run's folder.",
    )
    experiment: Text | None = Field(
        default=None, description="The experiment that runs are listed under; null takes the project's name."
    )


class TrackSpec(Block):
    """Where else each step's numbers go; `metrics.jsonl` has them always."""

    tensorboard: TensorBoardSpec | None = Field(
        default=None, description="Write TensorBoard's event files into the run's folder."
    )
    wandb: WandbSpec | None = Field(default=None, description="Follow the run with Weights & Biases.")
    mlflow: MlflowSpec | None = Field(default=None, description="Follow the run with MLflow.")


def _trackers(value: tuple[str, ...]) -> tuple[str, ...]:
    for position, name in enumerate(value):
        if name not in TrackSpec.model_fields:
            raise wrong("tensorboard, wandb or mlflow", got=f'the text "{name}"', at=(position,))
    return value


def _track_kind(value: Any) -> str | None:
    return (
        "<list>" if isinstance(value, list | tuple) else "<block>" if isinstance(value, Mapping | TrackSpec) else None
    )


TrackField = Annotated[
    Annotated[Texts, AfterValidator(_trackers), Tag("<list>")] | Annotated[TrackSpec, Tag("<block>")],
    Discriminator(_track_kind),
    Words("a list of trackers (tensorboard, wandb, mlflow), or a block with their settings"),
]


# --- project --------------------------------------------------------------------------------------------------------


def _model_kind(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<block>" if isinstance(value, Mapping | ModelSpec) else None


ModelField = Annotated[
    Annotated[str, Field(min_length=1), Tag("<text>")] | Annotated[ModelSpec, Tag("<block>")],
    Discriminator(_model_kind),
    Words("the id of a model, or a block of keys with one"),
]


class Project(Block):
    """A project file: from which data to learn what, with which model, and how."""

    version: Version = Field(description="The version of this file format; this Luthier reads version 1.")
    name: Name = Field(description="Names the run folder (`runs/<name>`) and the bundle.")
    task: Named = Field(description="What is predicted, such as text-classification; alone, or with its settings.")
    model: ModelField = Field(description="The pretrained model: its id alone, or a block of keys.")
    data: DataSpec = Field(description="Which rows to learn from, and what their columns mean.")
    method: Named = Field(
        default="full", description="Which parameters move, such as full; the name alone, or with its settings."
    )
    train: TrainSpec = Field(default=TrainSpec(), description="How the weights are moved.")
    check: CheckSpec = Field(default=CheckSpec(), description="What is looked at before training.")
    evaluate: EvaluateSpec = Field(default=EvaluateSpec(), description="What is measured on the test rows.")
    bundle: BundleSpec = Field(default=BundleSpec(), description="What goes into the bundle beside the model.")
    compress: CompressSpec | None = Field(
        default=None, description="What a compressed model must keep; null makes none."
    )
    report: ReportSpec = Field(default=ReportSpec(), description="How the report is written.")
    track: TrackField = Field(
        default=TrackSpec(),
        description="Where else each step's numbers go: a list of trackers, or a block with their settings; "
        "`metrics.jsonl` has them always.",
    )
    seed: int = Field(
        default=13,
        ge=0,
        le=2**32 - 1,
        description="Drives every draw of training (new weights, order, dropout); the same seed gives the same bits.",
    )

    @field_validator("train")
    @classmethod
    def _weights_have_labels(cls, train: TrainSpec, info: ValidationInfo) -> TrainSpec:
        labels = info.data["data"].labels if "data" in info.data else None
        if labels is None or isinstance(train.class_weights, str):
            return train
        names = dict.fromkeys(map(label_name, labels.values() if isinstance(labels, Mapping) else labels))
        for name in train.class_weights:
            if name not in names:
                known = ", ".join(names)
                raise wrong(f"a label of data.labels ({known})", got=name, at=("class_weights", name))
        return train
