"""One execution of a project in a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.artifacts.check import CheckReport
from luthier.artifacts.compression import CompressionReport
from luthier.artifacts.evaluation import EvalReport
from luthier.artifacts.files import disk_errors_named, fingerprint, write_json_atomic
from luthier.artifacts.run import RunDir, StageRecord, set_aside
from luthier.config import CompressStage, LoadedProject, Plan, Project, TrainStage, read_project, resolve
from luthier.errors import ProjectError, StoppedError
from luthier.pipeline import resuming, together
from luthier.pipeline.events import Noted, RunEvent, StageDone, StageSkipped, StageStarted, as_line
from luthier.pipeline.names import known_names
from luthier.pipeline.prepared import Prepared
from luthier.tasks import TASKS
from luthier.training import history
from luthier.training.callbacks import Begun, Callback, Callbacks
from luthier.training.events import Event, Finished, Resumed, Stopped
from luthier.training.hardware import Choice, describe
from luthier.training.trackers.table import build as build_trackers
from luthier.training.trackers.table import missing as missing_trackers
from luthier.version import __version__

if TYPE_CHECKING:
    from luthier.training.group import Group
    from luthier.training.profile import StepProfile

Emit = Callable[[RunEvent], None]
Source = str | Path | Mapping[str, Any] | Project


def open_project(source: Source, overrides: Sequence[str] = (), frame: Any = None) -> tuple[LoadedProject, Prepared]:
    """Return a project and its inputs, nothing of which is read yet."""
    names = known_names()
    loaded = read_project(source, overrides=overrides, names=names)
    plan = resolve(loaded.project, names)
    return loaded, Prepared(plan, loaded.folder, loaded.locate, frame)


def run(
    source: Source,
    *,
    run_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    allowed: Sequence[str] = (),
    frame: Any = None,
    callbacks: Sequence[Callback] = (),
    emit: Emit = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Execute a project: check → train → evaluate → bundle → report. A run that was cut off goes on where it was.

    Args:
        source: a project file, its content as a mapping, or a `Project`.
        run_dir: the run's folder; default `runs/<name>` in the working folder.
        overrides: texts such as `train.epochs=5`.
        fresh: start over; the old folder is kept aside.
        allowed: keys that may differ from the run's start when it goes on, such as `train.epochs`, `data`, `code`.
        frame: a pandas DataFrame or an Arrow table that takes the place of `data.train`.
        callbacks: listeners, see `training.callbacks.Callback`; the trackers of the project come before them.
        emit: told what happens.
        stop: asked often; when it says yes, training leaves a checkpoint and the run ends.

    Returns:
        JSON-like values: `run_dir`, `bundle`, `report`, `test`, `baseline`, `train`, `seconds`; of several processes
        that torchrun started rank 0 alone returns them.

    Raises:
        ProjectError: the project is wrong.
        DataError: the data, or a finding of the check.
        ArtifactError: the folder holds another run, or is damaged.
        StoppedError: `stop` said yes.
    """
    with together.joined() as group:
        if group is not None and group.rank > 0:
            together.follow(group, lambda: open_project(source, overrides, frame)[1], stop)
            return {}
        return _run(open_project(source, overrides, frame), run_dir, fresh, allowed, callbacks, emit, stop, group)


def _run(
    opened: tuple[LoadedProject, Prepared],
    run_dir: str | Path | None,
    fresh: bool,
    allowed: Sequence[str],
    callbacks: Sequence[Callback],
    emit: Emit,
    stop: Callable[[], bool],
    group: Group | None,
) -> dict[str, Any]:
    loaded, prepared = opened
    folder = Path(run_dir) if run_dir is not None else Path("runs") / loaded.project.name
    _refuse_missing_packages(loaded, prepared.plan)
    together.refuse(prepared)
    with disk_errors_named(folder):
        if fresh and (aside := set_aside(folder)) is not None:
            emit(Noted(f"the old run was kept in {aside}"))
        folder = folder.resolve()
        record = RunDir(folder)
        with record.lock():
            listen = _logged(record, emit)
            listeners = Callbacks([*build_trackers(prepared.plan.track, lambda text: listen(Noted(text))), *callbacks])
            return _Execution(loaded, prepared, record, listen, stop, tuple(allowed), listeners, group).result()


def _refuse_missing_packages(loaded: LoadedProject, plan: Plan) -> None:
    problems = [
        loaded.problem(
            f"track.{name}",
            f"the package {package} is not installed. Do pip install 'luthier[trackers]', or leave it out.",
        )
        for name, package in missing_trackers(plan.track).items()
    ]
    compressed = [name for stage in plan.stages if isinstance(stage, CompressStage) for name in stage.tasks]
    compresses = not all(TASKS[plan.tasks[name].task].writes for name in compressed)  # those run on torch
    if compresses and all(find_spec(name) is None for name in ("onnxruntime", "openvino")):
        text = "neither onnxruntime nor openvino is installed. Do pip install 'luthier[compress]', or leave it out."
        problems.append(loaded.problem("compress", text))
    if problems:
        raise ProjectError(problems)


def _logged(record: RunDir, emit: Emit) -> Emit:
    """Return a listener that keeps each line in the run's log and passes the event on."""

    def listen(event: RunEvent) -> None:
        if line := as_line(event):
            record.log(line)
        emit(event)

    return listen


def check(
    source: Source, *, overrides: Sequence[str] = (), frame: Any = None, emit: Emit = lambda _: None
) -> CheckReport:
    """Do the data check and the step check of a project, and leave nothing behind."""
    from luthier.pipeline.checking import data_check, step_check
    from luthier.pipeline.training import choose

    loaded, prepared = open_project(source, overrides, frame)
    _refuse_missing_packages(loaded, prepared.plan)
    report = data_check(prepared)
    emit(Noted("data check done; measuring a few steps"))
    return report.model_copy(update={"step": step_check(prepared, choose(prepared))})


def profile(source: Source, *, overrides: Sequence[str] = (), steps: int = 10) -> tuple[StepProfile, dict[str, str]]:
    """Return where the time of a project's training step goes, and what `auto` picked; leave nothing behind."""
    from luthier.pipeline.checking import step_profile
    from luthier.pipeline.training import choose, engine

    _, prepared = open_project(source, overrides)
    choices = choose(prepared)
    with engine(choices):
        found = step_profile(prepared, choices, steps)
    return found, {name: f"{choice.value} ({choice.reason})" for name, choice in choices.items()}


@dataclass
class _Execution:
    """A run in its folder."""

    loaded: LoadedProject
    prepared: Prepared
    record: RunDir
    emit: Emit
    stop: Callable[[], bool]
    allowed: tuple[str, ...] = ()
    listeners: Callbacks = field(default_factory=lambda: Callbacks([]))
    group: Group | None = None
    choices: dict[str, Choice] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    @property
    def plan(self) -> Plan:
        return self.prepared.plan

    def folder(self, stage: str) -> Path:
        path = self.record.path / stage
        path.mkdir(exist_ok=True)
        return path

    def result(self) -> dict[str, Any]:
        """Do every stage that is not done, tell the listeners how it ended, and return the closing values."""
        try:
            result = self._stages()
        except BaseException:
            self.listeners.end(None)
            raise
        if self.listeners.waiting:  # training was done before
            self._begin(None)
        self.listeners.end(result)
        self._refuse_broken_contract()
        return result

    def _refuse_broken_contract(self) -> None:
        """Raise a `ContractError` where no compressed model keeps the project's contract; all else is done by then."""
        compressed = self.record.stages.get("compress")
        if compressed is not None and any(stage.stage == "compress" for stage in self.plan.stages):
            from luthier.pipeline.compressing import FOLDER, REPORT, refuse_broken

            refuse_broken(CompressionReport.read(self.record.path / FOLDER / REPORT), self.record.path)

    def _begin(self, event: Event | None) -> None:
        """Begin the listeners with the log as it stood before an event; with all of it where there is none."""
        log = self.record.path / "train" / "metrics.jsonl"
        lines = history.read(log) if log.exists() else []
        if event is not None:
            start = event.step if isinstance(event, Resumed) else 0
            lines = [line for line in lines if line["step"] <= start]
        settings = resuming.training_part(self.plan.model_dump(mode="json"))
        self.listeners.begin(Begun(self.plan.name, self.record.path, settings, lines))

    def _stages(self) -> dict[str, Any]:
        previous = ""
        self._refuse_other_run()
        for stage in self.plan.stages:
            self._stop_if_asked()
            made_from = fingerprint([stage.stage, self._inputs_of(stage), previous])
            done = self.record.done(stage.stage, made_from)
            if done is not None:
                self.emit(StageSkipped(stage.stage))
            else:
                self.emit(StageStarted(stage.stage))
                done = self._do(stage.stage, made_from)
                self.emit(StageDone(stage.stage, done.seconds))
            previous = fingerprint([made_from, done.outputs])
        return self._closing()

    def _inputs_of(self, stage: Any) -> Any:
        base = [self.prepared.fingerprint, __version__, stage.model_dump(mode="json")]
        if stage.stage == "train":  # how often checkpoints are made does not change what training leaves
            return [*base[:2], self._train_inputs()]
        return base

    def _train_inputs(self) -> dict[str, Any]:
        stage = next(one for one in self.plan.stages if one.stage == "train")
        spec = stage.spec.model_dump(mode="json", exclude=set(resuming.FREE))
        inputs = {"method": stage.method.model_dump(mode="json"), "train": spec, "seed": self.plan.seed}
        changes = resuming.accepted(self.record)
        return {**inputs, "changes": changes} if changes else inputs

    def _do(self, stage: str, made_from: str) -> StageRecord:
        work = {
            "check": self._check,
            "train": self._train,
            "evaluate": self._evaluate,
            "bundle": self._bundle,
            "compress": self._compress,
            "report": self._report,
        }
        began, cpu = time.monotonic(), time.process_time()
        outputs, result = work[stage]()
        return self.record.finish(
            stage,
            fingerprint=made_from,
            outputs=outputs,
            seconds=time.monotonic() - began,
            cpu_seconds=time.process_time() - cpu,
            result=result,
        )

    def _check(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.pipeline.checking import data_check, refuse, step_check
        from luthier.pipeline.training import engine

        folder = self.folder("check")
        report = data_check(self.prepared)
        report.write(folder / "check.json")
        for finding in report.findings:
            self.emit(Noted(f"{finding.severity}: {finding.code}: {finding.message}"))
        refuse(self.prepared, report)
        self._choose()
        if self.plan.only(TrainStage).spec.shard == "none":
            with engine(self.choices):
                report = report.model_copy(update={"step": step_check(self.prepared, self.choices)})
        report.write(folder / "check.json")
        # The estimate holds times, so later stages depend on the findings alone.
        write_json_atomic(folder / "findings.json", report.model_dump(mode="json", exclude={"step"}))
        return [folder / "findings.json"], {"findings": len(report.findings)}

    def _train(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.pipeline.training import TrainJob, engine, train

        self._choose()
        folder = self.folder("train")
        self.record.forget("train")
        job = TrainJob(self.prepared, self.choices)
        origin = resuming.origin(folder, job.fingerprint(), len(resuming.accepted(self.record)))
        finished: Finished | None = None
        world = together.lead(self.group, self.prepared, self.choices, folder)
        with engine(self.choices):
            for event in train(replace(job, origin=origin), folder, world=world, stop=self.stop):
                if self.listeners.waiting:
                    self._begin(event)
                self.emit(event)
                self.listeners.event(event)
                if isinstance(event, Stopped):
                    raise self._stopped(f"stopped after step {event.step}; a checkpoint was written.")
                finished = event if isinstance(event, Finished) else finished
        assert finished is not None, "a training that was not stopped finishes"
        model = [path for path in sorted([*folder.glob("model/*"), *folder.glob("adapters/*/*")]) if path.is_file()]
        return [*model, folder / "entry.json", folder / "metrics.jsonl"], asdict(finished)

    def _evaluate(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.pipeline.evaluating import PREDICTIONS, evaluate

        folder = self.folder("evaluate")
        report = evaluate(
            self.prepared,
            self.folder("train"),
            folder,
            note_test_read=lambda split, rows, sha: self.record.note_test_read(
                split=split, rows=rows, weights_sha256=sha
            ),
        )
        report.write(self.record.path / "evaluation.json")
        return [self.record.path / "evaluation.json", folder / "calibration.json", folder / PREDICTIONS], {}

    def _bundle(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.pipeline.bundling import write_bundle

        write_bundle(
            self.prepared,
            self.folder("train"),
            self.folder("evaluate"),
            self.record.bundle,
            CheckReport.read(self.folder("check") / "findings.json"),
            EvalReport.read(self.record.path / "evaluation.json"),
        )
        return [path for path in sorted(self.record.bundle.rglob("*")) if path.is_file()], {}

    def _compress(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.pipeline.compressing import FOLDER, REPORT, Compression

        spec = self.plan.only(CompressStage).spec
        work = Compression(self.prepared, self.record, spec, lambda text: self.emit(Noted(text)), self.stop)
        report = work.do()
        written = [path for path in sorted(work.target.rglob("*")) if path.is_file()]
        return [self.record.path / FOLDER / REPORT, *written], {"kept": report.kept, "misses": report.misses}

    def _report(self) -> tuple[list[Path], dict[str, Any]]:
        from luthier.reporting.report import write_report

        path = self.record.path / "report.html"
        write_report(self.record, self.plan, path)
        return [path], {}

    def _choose(self) -> None:
        """Take the choices of the run's start, or make and record them.

        A training that was begun keeps them, but for those whose setting was allowed to change.
        """
        from luthier.pipeline.training import choose

        if self.choices:
            return
        path = self.record.path / "choices.json"
        made_from = fingerprint([self.prepared.fingerprint, self._train_inputs()])
        found = resuming.read_whole(path) if path.exists() else {}
        kept = {name: Choice(**choice) for name, choice in found.get("choices", {}).items()}
        if found and found["made_from"] == made_from:
            self.choices = kept
            return
        self.choices = choose(self.prepared)
        if resuming.newest_step(self.record.path):
            stay = {name for name in kept if self.changed.isdisjoint({name, f"train.{name}"})}
            self.choices |= {name: kept[name] for name in stay & self.choices.keys()}
        listed = {name: asdict(choice) for name, choice in self.choices.items()}
        write_json_atomic(path, {"made_from": made_from, "choices": listed, "hardware": describe()})
        for name, choice in self.choices.items():
            self.emit(Noted(f"{name}: {choice.value} ({choice.reason})"))

    def _refuse_other_run(self) -> None:
        """Keep the plan in the folder; refuse a folder whose training was begun from other inputs.

        Raises:
            ArtifactError: names what differs and was not allowed to.
        """
        resuming.check_allowed(self.allowed, self.prepared)
        changes = resuming.accept(self.record, self.prepared, self.allowed)
        self.changed = {change.key for change in changes}
        for line in resuming.told(changes):
            self.emit(Noted(line))
        if self.loaded.text is not None:
            self.record.write_text("project.yaml", self.loaded.text)

    def _closing(self) -> dict[str, Any]:
        evaluation = EvalReport.read(self.record.path / "evaluation.json")
        stages = self.record.stages
        trained = stages["train"].result
        test: dict[str, Any] = {"rows": evaluation.rows}
        for name, metric in evaluation.metrics.items():
            test[name] = metric.value
            if metric.interval is not None:
                test[f"{name}_interval"] = list(metric.interval)
        baseline = {one.name: {name: m.value for name, m in one.metrics.items()} for one in evaluation.baselines}
        seconds = round(sum(record.seconds for record in stages.values()), 1)
        result = {
            "name": self.plan.name,
            "run_dir": str(self.record.path),
            "bundle": str(self.record.bundle),
            "report": str(self.record.path / "report.html"),
            "weights_sha256": evaluation.weights_sha256,
            "headline": evaluation.headline,
            "test": test,
            "baseline": baseline,
            "train": {
                "rows_per_second": round(trained["rows"] / max(trained["seconds"], 1e-9), 1),
                "steps": trained["steps"],
                "best_step": trained["best_step"],
                "seconds": round(trained["seconds"], 1),
            },
            "seconds": seconds,
        }
        write_json_atomic(self.record.path / "result.json", result)
        return result

    def _stop_if_asked(self) -> None:
        if self.stop() or (self.group is not None and self.group.stop_asked()):
            raise self._stopped("stopped between two stages.")

    def _stopped(self, what: str) -> StoppedError:
        return StoppedError(what, where=str(self.record.path), fix="Give the same command again to go on from there.")
