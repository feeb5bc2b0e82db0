from __future__ import annotations

import re
import subprocess
import sys

import pytest

from luthier.samples import SAMPLES, describe
from luthier.samples.build import BUILDERS, GENERATORS

SYNTHETIC = ["synthetic-relations", "synthetic-questions"]
NAMES = ["minilm", "smollm2", "e5-multilingual", "movie-reviews", "movie-readings", "tweets", "support-chat"]
NAMES += ["support-pairs", "support-candidates", "people-daily", *SYNTHETIC]
NAMES += ["interface-translations", "docstring-summaries", "random-t5"]


def test_the_samples_and_their_builders() -> None:
    assert set(SAMPLES) == set(NAMES)
    assert set(BUILDERS) == {sample.builder for sample in SAMPLES.values() if sample.distribution is not None}
    assert set(GENERATORS) == {sample.builder for sample in SAMPLES.values() if sample.distribution is None}
    assert list(GENERATORS) == SYNTHETIC


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_everything(name: str) -> None:
    sample = describe(f"sample:{name}")
    pin = sample.distribution
    assert sample.name == name
    card = sample.card()
    told = [sample.description, sample.licence, sample.source, sample.citation]
    if pin is None:
        assert "synthetic" in card
        assert sample.description.startswith("Synthetic:")
    else:
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256)
        assert pin.version in pin.filename
        assert pin.size > 300_000
        told += [pin.sha256, pin.filename]
    for text in told:
        assert text
        assert text in card
    assert bool(sample.columns) == (sample.kind == "data")


def test_the_recipe_follows_the_pin_the_builder_and_the_revision() -> None:
    from dataclasses import replace

    sample = describe("minilm")
    assert sample.distribution is not None
    other_pin = replace(sample.distribution, sha256="0" * 64)
    recipes = {
        sample.recipe,
        replace(sample, distribution=other_pin).recipe,
        replace(sample, builder="tweets").recipe,
        replace(sample, revision=sample.revision + 1).recipe,
    }
    assert len(recipes) == 4
    assert replace(sample, description="other words").recipe == sample.recipe


def test_importing_the_package_is_cheap() -> None:
    program = (
        "import sys, luthier.samples\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'gguf', 'ruamel.yaml', 'tokenizers', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
