"""Threads within a container's quota, the choice of a runtime, and graphs that are not the manifest's."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.artifacts.bundle import BundleManifest, Runtime, choose_runtime
from luthier.errors import ArtifactError
from luthier.inference.graphs import available_threads, check_names, graph_outputs
from luthier.inference.loading import processor_note
from luthier.training.hardware import processor_flags, usable_cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("6400000 100000\n", None),
        ("what\n", None),
    ],
)
def test_threads_are_no_more_than_the_quota(text: str, expected: int | None, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert available_threads(quota) == (usable_cores() if expected is None else expected)


def test_without_a_quota_every_processor_counts(tmp_path: Path) -> None:
    assert available_threads(tmp_path / "absent") == usable_cores()


def runtime(name: str) -> Runtime:
    return Runtime(
        name=name,
        precision="fp32",
        tolerance=1e-4,
        raw_tolerance=1e-4,
        processor={},
        inputs=["input_ids", "attention_mask"],
        outputs=["logits"],
    )


def test_a_form_of_another_kind_of_processor_is_noted() -> None:
    here = sorted(processor_flags())
    int8 = runtime("openvino").model_copy(update={"precision": "int8", "processor": {"flags": here}})
    assert processor_note(int8) is None
    other = int8.model_copy(update={"processor": {"flags": sorted({*here} ^ {"avx512_vnni"})}})
    assert "avx512_vnni" in str(processor_note(other))
    assert processor_note(other.model_copy(update={"precision": "fp32"})) is None


def test_a_runtime_is_chosen_by_name() -> None:
    manifest = BundleManifest.model_construct(runtimes=[runtime("onnxruntime"), runtime("openvino")])
    assert [one.name for one in choose_runtime(manifest, None, where="b").runtimes] == ["onnxruntime"]
    assert [one.name for one in choose_runtime(manifest, "openvino", where="b").runtimes] == ["openvino"]
    with pytest.raises(ArtifactError, match=r"runtime must be one of onnxruntime, openvino; got torch\."):
        choose_runtime(manifest, "torch", where="b")


def test_a_graph_with_other_names_is_refused() -> None:
    one = runtime("onnxruntime")
    check_names(one, one.inputs, graph_outputs(one.outputs), where="g")
    with pytest.raises(ArtifactError, match=r"the graph's inputs must be input_ids, attention_mask; got input_ids\."):
        check_names(one, ["input_ids"], graph_outputs(one.outputs), where="g")
    with pytest.raises(ArtifactError, match=r"the graph's outputs must be output\.logits; got logits\."):
        check_names(one, one.inputs, one.outputs, where="g")
