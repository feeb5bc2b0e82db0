"""Where the time of a training step goes, and which share of the machine's peak is reached."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from luthier.models.tuning.quantised_layers import packed_away
from luthier.training.events import StepDone
from luthier.training.loop import Fit
from luthier.training.peak import peak

WARM_STEPS = 3
OTHER = "other operations"
# The first group that has a word which an operation's name starts with takes it.
GROUPS: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "addmm", "linear", "mkldnn_linear"),
    "attention": ("bmm", "baddbmm", "_softmax", "_scaled_dot_product", "scaled_dot_product", "masked_fill"),
    "activations and norms": ("gelu", "tanh", "relu", "silu", "native_layer_norm", "rsqrt", "rms_norm", "sigmoid"),
    "casts and copies": ("copy_", "_to_copy", "clone", "cat", "contiguous"),
    "optimiser": ("_fused_adamw", "_foreach", "linalg_vector_norm"),
    "embedding and its gradient": ("embedding", "index_select", "_index_put", "index_put", "fill_", "zero_", "zeros"),
    "loss": ("log_softmax", "_log_softmax", "nll_loss", "cross_entropy"),
    "sums, products, draws": ("add", "mul", "sum", "div", "sub", "where", "ge", "lt", "bernoulli", "rand"),
}


@dataclass(frozen=True)
class StepProfile:
    """What was measured.

    Attributes:
        steps: measured without the profiler, after the warm-up.
        rows_per_second: over these.
        tokens_per_second: real tokens, padding is not counted.
        step_ms: median milliseconds of a step.
        peak_gflops: of a large matrix product at the run's precision, in the same process; None off the CPU.
        reached_gflops: the model's work, see `work_per_token`, over time.
        share_of_peak: one over the other.
        groups: share of the processor time inside operations, by group, largest first.
        busy: processor time inside operations over wall time and threads; the rest is waiting and Python.
        operations: the most expensive ones: name, calls a step, milliseconds a step, share.
    """

    steps: int
    rows_per_second: float
    tokens_per_second: float
    step_ms: float
    peak_gflops: float | None
    reached_gflops: float
    share_of_peak: float | None
    groups: dict[str, float]
    busy: float
    operations: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return asdict(self)


def profile(fit: Fit, *, steps: int, precision: str) -> StepProfile:
    """Measure steps of a fit that is thrown away: first as they are, then under torch's profiler.

    Args:
        fit: over at least `WARM_STEPS + 2 * steps` batches, without checkpoints.
        steps: to measure each way.
        precision: of the run, for the peak.
    """
    work = work_per_token(fit.model, fit.whole)
    events = (event for event in fit if isinstance(event, StepDone))
    for _ in range(WARM_STEPS):
        next(events)
    plain, seconds = _timed(events, steps)
    every_thread = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)  # the lanes' too
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, experimental_config=every_thread) as found:
        _, traced = _timed(events, steps)
    operations = _operations(found.key_averages(), steps)
    whole = sum(one["ms"] for one in operations)
    groups: dict[str, float] = {}
    for one in operations:
        groups[group_of(one["name"])] = groups.get(group_of(one["name"]), 0.0) + one["ms"] / whole
    rate = sum(event.tokens for event in plain) / sum(seconds)
    most = peak(precision) if fit.world.device.type == "cpu" else None
    return StepProfile(
        steps=steps,
        rows_per_second=sum(event.rows for event in plain) / sum(seconds),
        tokens_per_second=rate,
        step_ms=sorted(seconds)[len(seconds) // 2] * 1e3,
        peak_gflops=None if most is None else most / 1e9,
        reached_gflops=work * rate / 1e9,
        share_of_peak=None if most is None else work * rate / most,
        groups=dict(sorted(groups.items(), key=lambda item: -item[1])),
        busy=whole * steps / 1e3 / (sum(traced) * torch.get_num_threads()),
        operations=[{**one, "share": one["ms"] / whole} for one in operations[:15]],
    )


def work_per_token(model: nn.Module, whole: Any) -> float:
    """Return the FLOPs that a token needs: forward 2 a parameter, backward 2 more, and 2 where the parameter trains.

    Embedding tables are looked up and not multiplied, so they count nothing. Frozen layers below the first one that
    trains need no backward pass, which is not taken off.

    Args:
        model: the model.
        whole: returns the context in which it has all its parameters.
    """
    with whole():
        tables = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
        counted = [parameter for parameter in model.parameters() if id(parameter) not in tables]
    every = sum(parameter.numel() for parameter in counted) + packed_away(model)
    return 4.0 * every + 2.0 * sum(parameter.numel() for parameter in counted if parameter.requires_grad)


def group_of(operation: str) -> str:
    """Return the group of an operation such as `aten::mm`."""
    name = operation.removeprefix("aten::")
    for group, words in GROUPS.items():
        if any(name == word or (len(word) > 3 and name.startswith(word)) for word in words):
            return group
    return OTHER


def profile_lines(found: StepProfile, choices: Mapping[str, str]) -> str:
    """Return a profile as text."""
    lines = [
        f"{found.rows_per_second:.0f} rows/s, {found.tokens_per_second:.0f} tokens/s, "
        f"{found.step_ms:.0f} ms a step (median of {found.steps})"
    ]
    if found.peak_gflops is not None and found.share_of_peak is not None:
        lines.append(
            f"{found.reached_gflops:.0f} GFLOP/s of useful work, {found.share_of_peak:.1%} of the machine's peak "
            f"({found.peak_gflops:.0f} GFLOP/s in a large matrix product)"
        )
    lines.append(f"{found.busy:.0%} of the threads' time is inside operations; the rest is waiting and Python")
    lines += ["", "where the time inside operations goes"]
    lines += [f"  {share:6.1%}  {group}" for group, share in found.groups.items()]
    lines += ["", "the most expensive operations, per step"]
    lines += [
        f"  {one['ms']:8.1f} ms {one['share']:6.1%} {one['calls']:7.0f} calls  {one['name']}"
        for one in found.operations
    ]
    lines += ["", "what was picked"]
    lines += [f"  {name}: {choice}" for name, choice in choices.items()]
    return "\n".join(lines)


def _timed(events: Iterable[StepDone], steps: int) -> tuple[list[StepDone], list[float]]:
    """Take steps; return their events and seconds."""
    taken, seconds = [], []
    mark = time.perf_counter()
    for event in events:
        now = time.perf_counter()
        taken.append(event)
        seconds.append(now - mark)
        mark = now
        if len(taken) == steps:
            break
    return taken, seconds


def _operations(averages: Sequence[Any], steps: int) -> list[dict[str, Any]]:
    """Return the operations by falling time of their own."""
    found = [
        {"name": one.key, "calls": one.count / steps, "ms": one.self_cpu_time_total / 1e3 / steps} for one in averages
    ]
    return sorted((one for one in found if one["ms"] > 0), key=lambda one: -one["ms"])
