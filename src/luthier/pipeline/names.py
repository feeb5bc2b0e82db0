"""The names that a project may use, collected from the registries."""

from __future__ import annotations

from luthier.config import Names, Roles
from luthier.metrics.registry import METRICS
from luthier.samples import SAMPLES


def known_names() -> Names:
    """Return every registered task, method, metric, baseline, role, sample and finding."""
    from luthier.data.check import FINDINGS
    from luthier.evaluation.kinds import EVALUATIONS
    from luthier.models.tuning.table import METHODS
    from luthier.tasks import TASKS

    return Names(
        tasks={name: getattr(task, "settings", None) for name, task in TASKS.items()},
        methods={name: getattr(method, "settings", None) for name, method in METHODS.items()},
        metrics=METRICS,
        baselines=dict.fromkeys(["auto", *(name for kind in EVALUATIONS.values() for name in kind.baselines)]),
        roles={
            name: Roles(
                required=tuple(role.name for role in task.roles if role.required),
                optional=tuple(role.name for role in task.roles if not role.required),
                shared=tuple(role.name for role in task.roles if role.shared),
            )
            for name, task in TASKS.items()
        },
        samples=SAMPLES,
        findings=FINDINGS,
    )
