"""A folder to build a container image from: bundle, Luthier's own code, exact versions, Dockerfile and compose file.

The image holds no torch. Its process is not root, its file system is read-only, and only loopback of the machine that
runs it reaches the port until the compose file says otherwise.

Covered: bundles that run a graph. Not covered: bundles that run torch, whose build for processors alone is not what an
index gives by default.
"""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from luthier.artifacts.bundle import BundleManifest
from luthier.errors import ArtifactError, ModelError

SERVING = ("fastapi", "numpy", "prometheus-client", "pydantic", "tokenizers", "uvicorn")
"""What `luthier serve` imports for a bundle whose graph needs no torch; a test installs nothing else."""
OF_RUNTIME = {"onnxruntime": ("onnxruntime",), "openvino": ("openvino",)}
ELSEWHERE = {"openvino-telemetry"}
"""Requirements that the runtime does not import, and that would report its use."""
PYTHON = "3.11"
PACKAGE = Path(__file__).parents[2]
DOCKERFILE = """\
# Build and run: docker compose up --build
FROM python:{python}-slim
RUN useradd --uid 10001 --no-create-home luthier
WORKDIR /srv
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY code code
COPY bundle bundle
USER 10001
ENV PYTHONPATH=/srv/code PYTHONDONTWRITEBYTECODE=1 LUTHIER_HOME=/tmp/luthier HF_HUB_OFFLINE=1
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \\
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "luthier", "serve", "bundle", "--host", "0.0.0.0", "--port", "8000"]
"""
COMPOSE = """\
# `serve` has no keys and no TLS: keep it behind something that does before you open the port to others.
services:
  luthier:
    build: .
    image: {name}
    read_only: true
    user: "10001:10001"
    tmpfs:
      - /tmp
    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
    ports:
      - "127.0.0.1:8000:8000"
    restart: unless-stopped
"""


def write_container(bundle: Path, manifest: BundleManifest, folder: Path) -> None:
    """Write everything that an image is built from.

    Args:
        bundle: a verified bundle.
        manifest: of it.
        folder: an empty one.

    Raises:
        ArtifactError: the bundle runs on torch.
        ModelError: a package that the image needs is not installed here, so its version is not known.
    """
    if any(one.name not in OF_RUNTIME for one in manifest.runtimes):
        fix = "Export or compress it for onnxruntime or openvino first, and make the container of that."
        raise ArtifactError("runs on torch, which a container does not hold.", where=str(bundle), fix=fix)
    roots = [*SERVING, *dict.fromkeys(name for one in manifest.runtimes for name in OF_RUNTIME[one.name])]
    pins = [f"{name}=={number}" for name, number in sorted(closure(roots).items())]
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    (folder / "Dockerfile").write_text(DOCKERFILE.format(python=PYTHON), encoding="utf-8")
    (folder / "compose.yaml").write_text(COMPOSE.format(name=f"{manifest.name}:latest"), encoding="utf-8")
    (folder / ".dockerignore").write_text("**/__pycache__\n", encoding="utf-8")
    shutil.copytree(bundle, folder / "bundle")
    shutil.copytree(PACKAGE, folder / "code" / "luthier", ignore=shutil.ignore_patterns("__pycache__"))


def closure(roots: list[str]) -> dict[str, str]:
    """Return `{name: installed version}` of packages and of all that they need, extras aside.

    Raises:
        ModelError: one is not installed.
    """
    found: dict[str, str] = {}
    waiting = [canonicalize_name(name) for name in roots]
    while waiting:
        name = waiting.pop()
        if name in found or name in ELSEWHERE:
            continue
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            raise ModelError(f"{name} is not installed, so the image's version of it is not known.") from None
        needed = [Requirement(text) for text in requires(name) or ()]
        waiting += [
            canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return found
