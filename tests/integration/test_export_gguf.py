"""A bundle that writes text as a GGUF file, answered by llama.cpp. Tiny random models, trained for a moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import build_decoder, chat_project

import luthier
from luthier.artifacts.files import read_json, write_json_atomic
from luthier.cli import main
from luthier.compression.export import gguf_file
from luthier.compression.export.exporting import export
from luthier.compression.export.gguf_file import FILE
from luthier.errors import ArtifactError, ModelError
from luthier.inference.llama_cpp import ask

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

MERGES = (("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the"))
FAMILIES = ("llama", "qwen2", "gpt2")


def made(folder: Path, family: str = "llama", **options: object) -> Path:
    """Return the bundle of a short training."""
    model = build_decoder(folder / "model", family=family, **{"merges": MERGES, **options})  # type: ignore[arg-type]
    return Path(luthier.run(chat_project(folder, model, rows=80), run_dir=folder / "run").bundle)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of each family, made when it is asked for."""
    known: dict[str, Path] = {}

    def bundle(family: str) -> Path:
        if family not in known:
            folder = tmp_path_factory.mktemp(family)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LUTHIER_HOME", str(folder / "home"))
                known[family] = made(folder, family, tied=family != "qwen2")
        return known[family]

    return bundle


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_answers_as_torch_does(family: str, bundles: Callable[[str], Path], tmp_path: Path) -> None:
    source = bundles(family)
    found = export(source, "gguf", tmp_path / "out")
    assert found.goldens > 4
    assert found.golden_difference < 1e-3
    assert {path.name for path in found.folder.iterdir()} >= {FILE, "README.md"}
    weights = sum(path.stat().st_size for path in (source / "model").glob("*.safetensors"))
    assert weights * 0.9 < (found.folder / FILE).stat().st_size < weights * 2


def test_the_command_says_what_was_compared(
    bundles: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(bundles("llama")), "--to", "gguf", "-o", str(tmp_path / "out")]) == 0
    assert "golden examples answered as when they were evaluated" in capsys.readouterr().out
    assert main(["export", str(bundles("llama")), "--to", "gguf", "-o", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_tensor_that_is_written_otherwise_is_found(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "paired", lambda rows, heads: rows)  # queries and keys in Transformers' order
    with pytest.raises(ArtifactError, match="does not answer golden example"):
        export(bundles("llama"), "gguf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_cuts_otherwise_is_found(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(bundles("llama").parent, tmp_path / "run")) / "bundle"
    original = gguf_file._write_tokenizer

    def fewer(*given: object) -> None:
        tokenizer = read_json(source / "model" / "tokenizer.json")
        tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:1]
        write_json_atomic(source / "model" / "tokenizer.json", tokenizer)
        original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(gguf_file, "_write_tokenizer", fewer)
    with pytest.raises(ArtifactError, match="its token ids are others"):
        export(source, "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_chat_template_that_writes_otherwise_is_found(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf

    add = gguf.GGUFWriter.add_chat_template
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_chat_template", lambda self, text: add(self, text.replace("Be brief", "Be long"))
    )
    with pytest.raises(ArtifactError, match="its chat template writes another text"):
        export(bundles("llama"), "gguf", tmp_path / "out")


def test_what_has_no_form_in_gguf_is_refused_by_name(source: Path, tmp_path: Path, home: Path) -> None:
    with pytest.raises(ArtifactError, match="task text-classification has no form in GGUF") as refused:
        export(source, "gguf", tmp_path / "scores")
    assert "onnx" in str(refused.value)
    with pytest.raises(ModelError, match="tokenizer must have merges"):
        export(made(tmp_path / "bytes", merges=()), "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_llama_cpp_does_not_take_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ModelError, match=r"model\.gguf: llama\.cpp does not take the file"):
        ask(tmp_path / "model.gguf", context=32, texts=[], chats=[], prompts=[])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mistral"}, "model type must be one of llama, qwen2, qwen3, gpt2 for GGUF; got mistral"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "hidden_act must be silu"),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}}, "rope_type must be default"),
    ],
)
def test_what_llama_cpp_would_read_as_something_else_is_refused(config: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        gguf_file._family(config, Path("model"))


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([{"type": "ByteLevel", "add_prefix_space": False}], "gpt-2"),
        (
            [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            ],
            "smollm",
        ),
    ],
)
def test_ways_to_cut_have_names(steps: list[dict[str, object]], name: str) -> None:
    first = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}
    tokenizer = {"pre_tokenizer": first, "model": {"type": "BPE", "merges": ["t h"]}}
    assert gguf_file._split(tokenizer, Path("model")) == name
    with pytest.raises(ModelError, match="byte-level BPE"):
        gguf_file._split({**tokenizer, "pre_tokenizer": {"type": "Metaspace"}}, Path("model"))


def test_rows_that_turn_together_come_next_to_each_other() -> None:
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)  # two heads of four rows, pairs half a head apart
    assert gguf_file.paired(rows, 2)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]
