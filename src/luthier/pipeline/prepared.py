"""What stages work on, each part made when it is first asked for: rows, splits, model folder, tokenizer, features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.files import fingerprint, home
from luthier.artifacts.manifest import new_folder
from luthier.config import Plan, TrainStage
from luthier.config.project import DataSpec, ModelSpec
from luthier.data import sources
from luthier.data.batches import plan_epoch
from luthier.data.features import Features, grouped
from luthier.data.rows import Rows
from luthier.data.text import TextEncoder
from luthier.inference.predictor import build_task
from luthier.models.source import ModelSource, locate, save_tokenizer
from luthier.models.tuning.table import build_method, check_method
from luthier.tasks import dataset as datasets
from luthier.tasks.base import Task
from luthier.tasks.dataset import Dataset
from luthier.version import __version__

LONGEST = 512
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A task's inputs.

    Attributes:
        plan: the resolved plan.
        folder: that relative paths start from.
        locate_source: makes a local path absolute.
        frame: rows given from Python instead of `data.train`, or None.
    """

    plan: Plan
    folder: Path
    locate_source: Callable[[str], str]
    frame: Any = None

    @property
    def data(self) -> DataSpec:
        """The data block."""
        return self.plan.task().data

    @property
    def model_spec(self) -> ModelSpec:
        """The model block."""
        return self.plan.task().model

    @cached_property
    def task(self) -> Task:
        """What is predicted."""
        return build_task(self.plan.task().task, self.plan.task().settings)

    @cached_property
    def sources(self) -> dict[str, Rows]:
        """The sources that were given, read."""
        given = {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}
        found = {}
        for name, source in given.items():
            frame = self.frame if name == "train" else None
            if source is None and frame is None:
                continue
            found[name] = sources.read(
                frame if frame is not None else source,
                folder=self.folder,
                format=self.data.format,
                delimiter=self.data.delimiter,
                encoding=self.data.encoding,
                bad_rows=self.data.bad_rows,
                limit=self.data.limit,
                split=name,
            )
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The rows, checked and split."""
        split = self.data.split
        return datasets.build(
            self.task,
            self.sources,
            columns=self.columns,
            labels=self.data.labels,
            group=self.data.group,
            test=split.test,
            validation=split.validation,
            seed=split.seed,
            stratified=split.stratified,
            skip_bad_rows=self.data.bad_rows == "skip",
        )

    @cached_property
    def columns(self) -> dict[str, str]:
        """`{role: column}`: as the project says, and a role's own name where it says nothing."""
        required = {role.name: role.name for role in self.task.roles if role.required}
        return {**required, **(self.data.columns or {})}

    @cached_property
    def model(self) -> ModelSource:
        """The pretrained model's folder; the method goes with it."""
        source = locate(self.locate_source(self.model_spec.id), revision=self.model_spec.revision)
        method = self.plan.only(TrainStage).method
        check_method(method.name, method.settings, source.config, where=source.id, task=self.task.name)
        return source

    @cached_property
    def model_fingerprint(self) -> str:
        """Hash of the pretrained model."""
        return self.model.fingerprint()

    @cached_property
    def max_length(self) -> int:
        """The length limit in tokens: as set, else the positions that model and method leave, at most 512."""
        limit, method = self.model.position_limit(), self.plan.only(TrainStage).method
        if limit is not None:
            limit -= build_method(method.name, method.settings).positions
        if self.model_spec.max_length is not None:
            if limit is not None and self.model_spec.max_length > limit:
                from luthier.errors import ModelError

                raise ModelError(
                    f"model.max_length must be at most {limit}, the positions of {self.model.id} "
                    f"that method {method.name} leaves; "
                    f"got {self.model_spec.max_length}."
                )
            return self.model_spec.max_length
        return min(LONGEST, limit) if limit is not None else LONGEST

    @cached_property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer as it will be bundled."""
        parts = [self.model_fingerprint, self.max_length, self.model_spec.truncation_side, __version__]
        target = home() / "cache" / "tokenizers" / fingerprint(parts)
        if not target.exists():
            with new_folder(target) as folder:
                save_tokenizer(
                    self.model, folder, max_length=self.max_length, truncation_side=self.model_spec.truncation_side
                )
        return target

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer with its limit."""
        return TextEncoder(self.tokenizer, max_length=self.max_length, truncation_side=self.model_spec.truncation_side)

    @cached_property
    def features(self) -> dict[str, Features]:
        """The features of every source."""
        return datasets.encode(self.task, self.dataset, self.encoder, self.tokenizer)

    def read_by(self, encoder: TextEncoder) -> Prepared:
        """Return the same inputs, cut into tokens by another tokenizer."""
        found = copy.copy(self)
        for name in ("features", "order"):
            found.__dict__.pop(name, None)
        found.__dict__.update(encoder=encoder, tokenizer=encoder.folder)
        return found

    def part(self, name: str) -> tuple[Features, IntArray]:
        """Return a split's features: all of its source, and which of them are the split's."""
        return self.features[self.dataset.parts[name].table], self.dataset.feature_index(name, self.features)

    @cached_property
    def order(self) -> Callable[[int], list[IntArray]]:
        """Epoch to batches of feature numbers; a pure function of data fingerprint, seed and epoch."""
        from luthier.objectives import OBJECTIVES  # imports torch

        features, index = self.part("train")
        spec = self.plan.only(TrainStage).spec
        data = self.dataset.fingerprint()
        members = [index[one] for one in grouped(features.group[index])]
        if not OBJECTIVES[self.task.objective].whole_batch or len(members) == len(index):
            members = []
        costs = features.total_cost
        cost = np.asarray([len(one) * costs[one].max() for one in members]) if members else costs[index]

        @lru_cache(maxsize=2)
        def plan(epoch: int) -> list[IntArray]:
            batches = plan_epoch(
                cost, budget=spec.batch_tokens, window=spec.window, fingerprint=data, seed=self.plan.seed, epoch=epoch
            )
            if members:  # the features of a group stay together
                return [np.concatenate([members[one] for one in batch]) for batch in batches]
            return [index[batch] for batch in batches]

        return plan

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides the features: sources, data block, task, model, version."""
        task = self.plan.task()
        return fingerprint(
            {
                "sources": {name: rows.fingerprint for name, rows in self.sources.items()},
                "data": task.data.model_dump(mode="json", exclude={"train", "validation", "test"}),
                "task": [task.task, dict(task.settings)],
                "model": self.model_fingerprint,
                "limits": task.model.model_dump(mode="json", exclude={"id", "revision"}),
                "version": __version__,
            }
        )
