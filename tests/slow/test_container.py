"""A container's steps by hand: an empty environment, the pinned requirements, the copied code, its command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from tests.tiny import project, sentences

import luthier
from luthier.cli import main
from luthier.compression.export.exporting import export
from luthier.samples.catalogue import Distribution
from luthier.samples.distribution import fetch_distribution

pytestmark = [pytest.mark.slow, pytest.mark.fetches, pytest.mark.timeout(900)]
TEXTS = [text for text, _ in sentences(5, seed=8)]
# The published schema of compose files, as this package carries it.
COMPOSE = Distribution(
    registry="pypi",
    package="docker-compose",
    version="1.29.2",
    filename="docker_compose-1.29.2-py2.py3-none-any.whl",
    sha256="8d5589373b35c8d3b1c8c1182c6e4a4ff14bffa3dd0b605fcd08f73c94cef809",
    size=114_764,
)


@pytest.fixture(scope="module")
def bundles(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle that runs torch, and the same for ONNX Runtime."""
    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(folder / "home"))
        options = ["train.epochs=1", "bundle.golden_examples=4"]
        source = Path(luthier.run(project(folder, tiny_model), run_dir=folder / "run", overrides=options).bundle)
        return source, export(source, "onnx", folder / "onnx").folder


def command_of(dockerfile: str) -> list[str]:
    """Return the command that the image runs."""
    found: list[str] = json.loads(re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)[-1])
    return found


def test_its_steps_by_hand_give_a_server_that_answers_the_same(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    made = export(bundles[1], "container", tmp_path / "made").folder
    dockerfile = (made / "Dockerfile").read_text(encoding="utf-8")
    assert "USER 10001" in dockerfile
    place = tmp_path / "srv"
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True, timeout=300)
    python = place / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--no-deps", "-r", made / "requirements.txt"]
    subprocess.run(pip, check=True, timeout=600)
    installed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "pyarrow"} & {line.split()[0] for line in installed.splitlines() if line}
    for part in ("code", "bundle"):
        (made / part).rename(place / part)
    for path in place.rglob("*"):
        if "venv" not in path.parts:
            path.chmod(path.stat().st_mode & ~0o222)  # the image's file system is read-only
    command = [str(python), *command_of(dockerfile)[1:]]
    command[command.index("0.0.0.0")] = "127.0.0.1"  # what is replaced
    command[command.index("8000")] = "0"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(place / "code"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LUTHIER_HOME": str(tmp_path / "home"),
    }
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert url is not None, said + server.stderr.read()
            body = json.dumps({"inputs": TEXTS}).encode()
            request = urllib.request.Request(  # loopback
                f"{url[0]}/v1/predict", body, {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                served: list[dict[str, Any]] = json.load(answer)["predictions"]
        finally:
            server.terminate()
            server.wait(timeout=30)
    wanted = [one.as_dict() for one in luthier.load(bundles[1]).predict(TEXTS)]
    assert [one["label"] for one in served] == [one["label"] for one in wanted]
    assert [one["probability"] for one in served] == pytest.approx([one["probability"] for one in wanted], abs=1e-5)


def test_the_compose_file_is_one_and_closes_what_it_can(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    made = export(bundles[1], "container", tmp_path / "made").folder
    written = YAML(typ="safe").load((made / "compose.yaml").read_text(encoding="utf-8"))
    with zipfile.ZipFile(fetch_distribution(COMPOSE).path) as wheel:
        schema = json.loads(wheel.read("compose/config/compose_spec.json"))
    validator = jsonschema.Draft201909Validator(schema)
    validator.validate(written)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**written, "services": {"luthier": {"read_only": "perhaps"}}})
    (service,) = written["services"].values()
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_a_bundle_that_runs_torch_is_refused(
    bundles: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundles[0]), "--to", "container", "-o", str(tmp_path / "made")]) == 2
    assert "runs on torch" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
