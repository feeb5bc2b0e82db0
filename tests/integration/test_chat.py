"""A tiny language model from project file to served bundle, through the real command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.tiny import build_decoder, chat_project, questions

import luthier
from luthier.artifacts.evaluation import AnswersBlock, EvalReport
from luthier.cli import main
from luthier.serving.app import create_app

METHOD = "method: {lora: {rank: 4, targets: all}}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def finished(place: Path) -> Iterator[Path]:
    """The run folder of a tiny LoRA run that repeats a word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_HOME", str(place / "home"))
        project = chat_project(place, build_decoder(place / "model"), extra=METHOD)
        assert main(["run", str(project), "--run-dir", str(place / "run"), "--set", "train.learning_rate=0.02"]) == 0
        yield place / "run"


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_it_beats_the_model_before_training(finished: Path) -> None:
    report = EvalReport.read(finished / "evaluation.json")
    (untuned,) = report.baselines
    assert untuned.name == "untuned"
    assert report.headline == "perplexity"
    assert untuned.lead.interval is not None
    assert untuned.lead.interval[1] < 0
    (block,) = report.blocks
    assert isinstance(block, AnswersBlock)
    assert block.asked == len(block.rows) == 6


def test_the_perplexity_is_that_of_plain_transformers(finished: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished / "bundle" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    predictions = pa.ipc.open_file(finished / "evaluate" / "predictions.arrow").read_all()
    report = EvalReport.read(finished / "evaluation.json")
    per_token = predictions["nll"].to_numpy().sum() / predictions["tokens"].to_numpy().sum()
    assert report.metrics["perplexity"].value == pytest.approx(np.exp(per_token))
    answers = dict(questions(120))
    (block,) = report.blocks
    row = block.rows[0]  # type: ignore[union-attr]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": row.inputs["question"]}], add_generation_prompt=True, return_dict=False
    )
    answer = [*tokenizer(answers[row.inputs["question"]])["input_ids"], tokenizer.eos_token_id]
    labels = torch.tensor([[-100] * len(prompt) + answer])
    loss = model(input_ids=torch.tensor([[*prompt, *answer]]), labels=labels).loss.item() * len(answer)
    assert np.abs(predictions["nll"].to_numpy() - loss).min() < 1e-3


def test_verify_replays_through_plain_transformers(finished: Path) -> None:
    found = luthier.verify(finished / "bundle")
    assert found.goldens == 11
    assert found.plain_difference is not None
    assert found.plain_difference < 1e-4


def test_a_file_and_http_get_the_same_text(finished: Path, place: Path) -> None:
    path, out = place / "in.jsonl", place / "out.jsonl"
    texts = [question for question, _ in questions(9, seed=4)]
    path.write_text("".join(json.dumps({"question": text, "id": i}) + "\n" for i, text in enumerate(texts)))
    assert main(["predict", str(finished / "bundle"), str(path), "-o", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == list(range(9))
    assert {row["finish"] for row in rows} <= {"end", "length"}
    predictor = luthier.load(finished / "bundle")
    with TestClient(create_app(predictor)) as client:
        answer = client.post("/v1/predict", json={"inputs": [{"question": text} for text in texts]}).json()
        assert [one["completion"] for one in answer["predictions"]] == [row["completion"] for row in rows]
        streamed = client.post("/v1/stream", json={"inputs": [{"question": texts[2]}]})
        assert streamed.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in streamed.text.splitlines() if line]
        assert "".join(event["text"] for event in events[:-1]) == rows[2]["completion"]
        assert events[-1]["prediction"]["completion"] == rows[2]["completion"]
        refused = client.post("/v1/stream", json={"inputs": texts[:2]})
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "one-row"


def test_report_and_card_speak_of_answers(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Answers that it wrote" in page
    assert "the model before training" in page
    assert "Perplexity" in (finished / "bundle" / "README.md").read_text(encoding="utf-8")


def test_a_changed_weight_is_noticed(finished: Path) -> None:
    from safetensors.torch import load_file, save_file

    from luthier.artifacts.bundle import open_bundle, read_goldens
    from luthier.errors import ArtifactError
    from luthier.inference.goldens import replay
    from luthier.inference.predictor import Predictor

    bundle = finished / "bundle"
    predictor = Predictor(bundle, open_bundle(bundle))
    weights = bundle / "model" / "model.safetensors"
    before = weights.read_bytes()
    tensors = load_file(weights)
    tensors["model.norm.weight"] *= 1.01
    save_file(tensors, weights)
    changed = Predictor(bundle, predictor.manifest)
    weights.write_bytes(before)
    goldens = read_goldens(bundle)
    assert replay(predictor, goldens, predictor.manifest.runtimes[0]) < 1e-5
    with pytest.raises(ArtifactError, match="its raw outputs differ"):
        replay(changed, goldens, predictor.manifest.runtimes[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "model.max_length=40",
            "nothing-to-learn: 91 rows (100.00%) keep no token to learn within 40 tokens. Set model",
        ),
        ("data.labels=[a, b]", "data.labels must be absent"),
        ("data.columns={prompt: question, completion: missing}", '"missing"'),
        ("task={text-generation: {template: nonsense}}", "template must be one of auto, chat, plain, instruction"),
        ("task={text-generation: {max_new_tokens: 0}}", "max_new_tokens: must be at least 1"),
        ("train.label_smoothing=0.1", "train.label_smoothing must be 0"),
        ("train.class_weights=balanced", "train.class_weights must be none"),
        ("evaluate.baselines=[tfidf]", "evaluate.baselines of text-generation must be of untuned; got tfidf"),
        ("method=prefix", "got prefix: answers are written token by token"),
        ("method=head", "got head: the output layer of a language model"),
        ("model.pooling=mean", "model.pooling must be auto for a language-model head"),
    ],
)
def test_wrong_set_ups_are_refused_with_place_and_fix(
    change: str, message: str, finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(place / "chat.yaml"), "--run-dir", str(place / "refused"), "--fresh", "--set", change]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_template_without_an_assistant_turn_is_refused_by_check(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = (
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}{% endif %}{% endfor %}"
    )
    path = chat_project(tmp_path, build_decoder(tmp_path / "model", template=silent))
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert "its chat template has no place for the assistant's turn. Choose the template instruction or plain." in error


def test_packing_is_refused_where_rows_could_not_be_kept_apart(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    monkeypatch.setattr("luthier.pipeline.checking.PACKABLE", ("qwen2",))
    assert main(["check", str(path), "--set", "task={text-generation: {packing: true}}"]) == 2
    assert "packing must be false for llama models; it is for qwen2. Take task.text-generation.packing out" in (
        capsys.readouterr().err
    )


def test_packed_training_learns_and_serves(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    change = "task={text-generation: {packing: true, num_beams: 2, max_new_tokens: 12}}"
    found = asked(capsys, "run", str(path), "--run-dir", str(tmp_path / "run"), "--set", change, "--json")
    assert found["test"]["perplexity"] < 0.5 * found["baseline"]["untuned"]["perplexity"]
    assert luthier.verify(found["bundle"]).plain_difference < 1e-4


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_conversations_of_several_turns(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One column holds whole conversations: the last answer is learnt, what comes before it is the prompt."""
    path = chat_project(tmp_path, build_decoder(tmp_path / "model"))
    pairs = questions(120)
    talks = [turns(*pairs[i - 1], *pair) for i, pair in enumerate(pairs)]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    changes = ["data.train=chat.jsonl", "data.columns={prompt: messages, completion: messages}", "train.epochs=1"]
    options = [part for change in changes for part in ("--set", change)]
    assert main(["check", str(path), "--show-batch", *options]) == 0
    shown = capsys.readouterr().out
    rows = [row.partition("⟦") for row in shown.split("chat.jsonl:")[1:]]
    assert rows
    for before, _, after in rows:
        assert (before.count("<start>user"), before.count("<start>assistant")) == (2, 2)
        assert re.match(r"[a-z]+!<end>⟧", after)
    found = asked(capsys, "run", str(path), "--run-dir", str(tmp_path / "run"), *options, "--json")
    predictor = luthier.load(found["bundle"])
    talk = turns("start on tea?", "tea!", "then on milk?")
    (answer,) = predictor.predict([{"messages": talk}])
    assert [*predictor.predict([{"messages": [*talk, *turns("", "left out")[1:]]}])] == [answer]
    with TestClient(create_app(predictor)) as client:
        sent = client.post("/v1/predict", json={"inputs": [{"messages": talk}]}).json()
        assert sent["predictions"][0]["completion"] == answer.as_dict()["completion"]
        wrong = client.post("/v1/predict", json={"inputs": [{"messages": turns("a")[::-1] * 2}]})
        assert wrong.status_code == 422
        assert "message 1 must be of the role assistant; got 'user'" in wrong.json()["error"]["message"]


def test_an_encoder_is_refused_with_the_types_that_can(
    finished: Path, place: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(place / "chat.yaml"), "--run-dir", str(place / "x"), "--set", f"model.id={tiny_model}"]
    assert main(arguments) == 2
    assert (
        'must be of a type that can carry a language-model head (gpt2, llama, qwen2, qwen3); got "bert"'
        in capsys.readouterr().err
    )


def test_two_runs_are_compared(finished: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = place / "other"
    assert main(["run", str(place / "chat.yaml"), "--run-dir", str(other), "--set", "train.epochs=1"]) == 0
    capsys.readouterr()
    found = asked(capsys, "compare", str(other), str(finished), "--json")
    assert found["headline"] == "perplexity"
    assert found["after"] < found["before"]
    assert found["flips"] is None
    assert main(["compare", str(other), str(finished)]) == 0
    assert "McNemar" not in capsys.readouterr().out
