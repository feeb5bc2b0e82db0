"""What a user may write: the project file, its loader, its plan, its schema."""

from luthier.config.load import LoadedProject, load_project, read_project
from luthier.config.names import Names, Roles, build_settings
from luthier.config.plan import (
    BundleStage,
    CheckStage,
    EvaluateStage,
    MethodPlan,
    Plan,
    ReportStage,
    TaskPlan,
    TrainStage,
    resolve,
)
from luthier.config.project import (
    BundleSpec,
    CheckSpec,
    DataSpec,
    EarlyStoppingSpec,
    EvaluateSpec,
    ModelSpec,
    Project,
    ReportSpec,
    SplitSpec,
    TrackSpec,
    TrainSpec,
)

__all__ = [
    "BundleSpec",
    "BundleStage",
    "CheckSpec",
    "CheckStage",
    "DataSpec",
    "EarlyStoppingSpec",
    "EvaluateSpec",
    "EvaluateStage",
    "LoadedProject",
    "MethodPlan",
    "ModelSpec",
    "Names",
    "Plan",
    "Project",
    "ReportSpec",
    "ReportStage",
    "Roles",
    "SplitSpec",
    "TaskPlan",
    "TrackSpec",
    "TrainSpec",
    "TrainStage",
    "build_settings",
    "load_project",
    "read_project",
    "resolve",
]
