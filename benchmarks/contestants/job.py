"""What a contestant is asked to do, what it hands back, and the clock that all of them share."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        project: the project file; the script and the Trainers read nothing of it.
        model: folder of the pretrained model.
        texts: JSON file with the texts and class numbers of `train` and `test`, and `classes`.
        max_length: in tokens.
        padded_length: what the plain script pads every row to, in tokens.
        threads: of PyTorch.
        seed: of the row order and of what is drawn.
        warm_steps: steps before the clock starts.
        rows: rows after which the clock may stop.
        whole: train to the end of the last epoch, clock from the first batch, and score the test rows.
        epochs: of the script and the Trainers.
        folder: for what the run writes.
        frozen: train the head alone, without dropout.
        split: that is scored at the end of a whole run, `test` or `validation`.
        overrides: of the project file, such as `train.epochs=1`.
    """

    project: str
    model: str
    texts: str
    max_length: int
    padded_length: int
    threads: int
    seed: int
    warm_steps: int
    rows: int
    whole: bool
    epochs: int
    folder: str
    frozen: bool = False
    split: str = "test"
    overrides: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Job:
        """Return the job in a JSON file."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "overrides": tuple(values["overrides"])})

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True)
class Measured:
    """What was measured between the end of the warm-up and the end of the last step.

    Attributes:
        rows: trained.
        tokens: of these rows, special ones included and padding excluded.
        padded_tokens: rows times the length of their batch.
        steps: of the optimiser.
        seconds: of wall time.
        cpu_seconds: of this process; far below `seconds` times the threads, others were using the machine.
        parameters: that train and are not embeddings.
        correct: test rows that were labelled rightly; None where that was not asked.
        tested: test rows.
    """

    rows: int
    tokens: int
    padded_tokens: int
    steps: int
    seconds: float
    cpu_seconds: float
    parameters: int
    correct: int | None = None
    tested: int | None = None

    @property
    def rows_per_second(self) -> float:
        """Rows trained per second of wall time."""
        return self.rows / self.seconds

    @property
    def flops_per_second(self) -> float:
        """6 FLOPs per non-embedding parameter and real token: what the model needs, not what was spent on padding."""
        return 6.0 * self.parameters * self.tokens / self.seconds


@dataclass
class Meter:
    """The clock. Call `start` before the first batch, `batch` for each batch made, `step` after each optimiser step.

    Batches may be made ahead of their steps (the Trainer's loader does); the n-th step takes the n-th batch.
    """

    job: Job
    batches: list[tuple[int, int, int]] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    cpu_marks: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Take the time before the first batch; later calls do nothing."""
        if not self.marks:
            self._mark()

    def batch(self, rows: int, tokens: int, padded_tokens: int) -> None:
        """Note what a batch holds."""
        self.batches.append((rows, tokens, padded_tokens))

    def step(self) -> bool:
        """Take the time after a step; return whether enough rows were measured."""
        self._mark()
        return not self.job.whole and self._rows() >= self.job.rows

    def extend(self) -> None:
        """Count what happened since the last step, such as a checkpoint, as part of it."""
        self.marks[-1], self.cpu_marks[-1] = time.perf_counter(), time.process_time()

    def skip(self, seconds: float, cpu_seconds: float) -> None:
        """Leave out work that is no training, such as a validation, that ended just now."""
        self.marks = [mark + seconds for mark in self.marks]
        self.cpu_marks = [mark + cpu_seconds for mark in self.cpu_marks]

    def measured(self, parameters: int, correct: int | None = None, tested: int | None = None) -> Measured:
        """Return the result."""
        first, last = self._first(), len(self.marks) - 1
        window = self.batches[first:last]
        assert window, "the run ended inside the warm-up"
        rows, tokens, padded = (sum(column) for column in zip(*window, strict=True))
        return Measured(
            rows=rows,
            tokens=tokens,
            padded_tokens=padded,
            steps=last - first,
            seconds=self.marks[last] - self.marks[first],
            cpu_seconds=self.cpu_marks[last] - self.cpu_marks[first],
            parameters=parameters,
            correct=correct,
            tested=tested,
        )

    def _mark(self) -> None:
        self.marks.append(time.perf_counter())
        self.cpu_marks.append(time.process_time())

    def _first(self) -> int:
        return 0 if self.job.whole else self.job.warm_steps

    def _rows(self) -> int:
        return sum(rows for rows, _, _ in self.batches[self._first() : len(self.marks) - 1])


def non_embedding(model: Any) -> int:
    """Return how many trainable parameters of a torch module lie outside its embedding tables."""
    from torch import nn

    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in tables)
