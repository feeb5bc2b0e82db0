"""What a project means: a list of stages over a dict of tasks.

A project file is a short form of this. A plan holds no sugar: a model is always a block, a task or method always has
its settings, every default is written out, and every stage says which tasks it is about. So a plan is what goes into a
run's folder, and what its stages' fingerprints are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, JsonValue, Strict, ValidationError

from luthier.config.names import Names, default_settings
from luthier.config.project import (
    BundleSpec,
    CheckSpec,
    CompressSpec,
    DataSpec,
    EvaluateSpec,
    ModelSpec,
    Name,
    Project,
    ReportSpec,
    TrackSpec,
    TrainSpec,
    Version,
)
from luthier.config.values import Block, Text, split_named
from luthier.errors import LuthierError

MAIN = "main"

Settings = Mapping[str, JsonValue]
TaskNames = Annotated[tuple[Text, ...], Strict(False), Field(min_length=1)]


class TaskPlan(Block):
    """One thing to predict, with its model and its rows."""

    task: Text = Field(description="The name of the task.")
    settings: Settings = Field(default={}, description="The task's settings.")
    model: ModelSpec = Field(description="The pretrained model.")
    data: DataSpec = Field(description="The rows; a split share is 0 where a file takes its place.")


class MethodPlan(Block):
    """Which parameters move."""

    name: Text = Field(description="The name of the method.")
    settings: Settings = Field(default={}, description="The method's settings.")


class CheckStage(Block):
    """Look at data and at a few steps before training."""

    stage: Literal["check"] = Field(default="check", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    spec: CheckSpec = Field(description="What is looked at.")


class TrainStage(Block):
    """Move the weights."""

    stage: Literal["train"] = Field(default="train", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    method: MethodPlan = Field(description="Which parameters move.")
    spec: TrainSpec = Field(description="How they are moved.")


class EvaluateStage(Block):
    """Measure on the test rows."""

    stage: Literal["evaluate"] = Field(default="evaluate", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    spec: EvaluateSpec = Field(description="What is measured.")


class BundleStage(Block):
    """Write the bundle."""

    stage: Literal["bundle"] = Field(default="bundle", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    spec: BundleSpec = Field(description="What goes into it.")


class CompressStage(Block):
    """Search for a smaller and faster model that keeps a contract."""

    stage: Literal["compress"] = Field(default="compress", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    spec: CompressSpec = Field(description="The contract.")


class ReportStage(Block):
    """Write the report."""

    stage: Literal["report"] = Field(default="report", description="The kind of stage.")
    tasks: TaskNames = Field(description="Keys of `tasks` it is about.")
    spec: ReportSpec = Field(description="How it is written.")


Stage = Annotated[
    CheckStage | TrainStage | EvaluateStage | BundleStage | CompressStage | ReportStage,
    Field(discriminator="stage"),
]
S = TypeVar("S", CheckStage, TrainStage, EvaluateStage, BundleStage, CompressStage, ReportStage)


class Plan(Block):
    """A project with nothing left to say."""

    version: Version = Field(default=1, description="The version of the plan.")
    name: Name = Field(description="The project's name.")
    seed: int = Field(ge=0, le=2**32 - 1, description="Drives every draw of training.")
    tasks: Mapping[str, TaskPlan] = Field(min_length=1, description="What is predicted, by a key that stages refer to.")
    stages: Annotated[tuple[Stage, ...], Strict(False)] = Field(description="The steps of a run, in their order.")
    track: TrackSpec = Field(default=TrackSpec(), description="Where else each step's numbers go.")

    def only(self, kind: type[S]) -> S:
        """Return the plan's one stage of a kind.

        Args:
            kind: such as `TrainStage`.
        """
        found = [stage for stage in self.stages if isinstance(stage, kind)]
        assert len(found) == 1, f"a plan must have one {kind.__name__}; this one has {len(found)}"
        return found[0]

    def task(self, key: str = MAIN) -> TaskPlan:
        """Return the task under a key."""
        return self.tasks[key]


def resolve(project: Project, names: Names | None = None) -> Plan:
    """Return what a project means.

    Args:
        project: as the user wrote it.
        names: with it, the settings of task and method have their defaults written out too.
    """
    task, task_settings = split_named(project.task)
    method, method_settings = split_named(project.method)
    if names is not None:
        task_settings = {**default_settings(names.tasks, task), **task_settings}
        method_settings = {**default_settings(names.methods, method), **method_settings}
    model = ModelSpec(id=project.model) if isinstance(project.model, str) else project.model
    about = (MAIN,)
    return Plan(
        name=project.name,
        seed=project.seed,
        tasks={MAIN: TaskPlan(task=task, settings=task_settings, model=model, data=_data(project.data))},
        stages=(
            CheckStage(tasks=about, spec=project.check),
            TrainStage(tasks=about, method=MethodPlan(name=method, settings=method_settings), spec=project.train),
            EvaluateStage(tasks=about, spec=project.evaluate),
            BundleStage(tasks=about, spec=project.bundle),
            *([] if project.compress is None else [CompressStage(tasks=about, spec=project.compress)]),
            ReportStage(tasks=about, spec=project.report),
        ),
        track=_track(project.track),
    )


def changed_contract(plan: Plan, changes: Mapping[str, Any]) -> CompressSpec:
    """Return a plan's contract of compression, or the default one, with some values changed.

    Args:
        plan: of a run.
        changes: keys of `compress` with values.

    Raises:
        LuthierError: a value is out of its bounds; it is named as the option that gives it.
    """
    stages = [stage.spec for stage in plan.stages if isinstance(stage, CompressStage)]
    values = {**(stages[0] if stages else CompressSpec()).model_dump(), **changes}
    try:
        return CompressSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])).replace("_", "-")
        raise LuthierError(f"--{key}: {first['msg']}; got {first['input']}.") from None


def _track(track: TrackSpec | tuple[str, ...]) -> TrackSpec:
    """Return the block that a list of trackers stands for."""
    return track if isinstance(track, TrackSpec) else TrackSpec.model_validate({name: {} for name in track})


def _data(data: DataSpec) -> DataSpec:
    """Return the data with the share of a split at 0 where a file takes its place."""
    zero: dict[str, Any] = {part: 0.0 for part in ("test", "validation") if getattr(data, part) is not None}
    return data.model_copy(update={"split": data.split.model_copy(update=zero)}) if zero else data
