"""What several integration tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import project

import luthier


@pytest.fixture(scope="module")
def source(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny classifier that was trained for two epochs."""
    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        options = ["train.epochs=2", "train.learning_rate=0.02"]
        return Path(luthier.run(project(folder, tiny_model), run_dir=folder / "run", overrides=options).bundle)
