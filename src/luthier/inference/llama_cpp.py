"""llama.cpp, asked in a process of its own: how a GGUF file cuts texts, writes chats and goes on from prompts.

The package xllamacpp holds llama.cpp with its server, which listens on the loopback device alone, at a free port, and
answers only who knows a key that was drawn for it.

    python -m luthier.inference.llama_cpp FILE QUESTIONS ANSWERS
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from luthier.artifacts.files import read_json, write_json_atomic
from luthier.errors import ModelError
from luthier.inference.graphs import available_threads, not_installed

KEY_BYTES = 24
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Continued:
    """How llama.cpp goes on from a prompt when it takes the likeliest token each time.

    Attributes:
        tokens: their numbers, that of the one that ends the text among them.
        ended: whether it ended by itself.
        logprobs: (token, its log-probability), in order; a token that is a part of a character may be left out.
    """

    tokens: list[int]
    ended: bool
    logprobs: list[tuple[int, float]]


@dataclass(frozen=True)
class Replies:
    """What llama.cpp answered.

    Attributes:
        cut: the token ids of each text, special tokens in it read as such.
        started: the token ids of each text with what stands around a text.
        chats: each conversation as the text that an answer follows.
        continued: of each prompt.
    """

    cut: list[list[int]]
    started: list[list[int]]
    chats: list[str]
    continued: list[Continued]


def ask(
    path: Path,
    *,
    context: int,
    texts: Sequence[str],
    chats: Sequence[Messages],
    prompts: Sequence[tuple[Sequence[int], int]],
    where: str = "",
) -> Replies:
    """Ask llama.cpp about a file.

    Args:
        path: a GGUF file.
        context: tokens of a prompt and its answer together, at most.
        texts: to cut.
        chats: conversations to write with the file's template.
        prompts: (token ids, most tokens of the answer).
        where: what an error names; default the file.

    Raises:
        ModelError: xllamacpp is not installed, or llama.cpp does not take the file.
    """
    if find_spec("xllamacpp") is None:
        raise not_installed("xllamacpp", "llama-cpp")
    questions = {
        "context": context,
        "texts": list(texts),
        "chats": [list(one) for one in chats],
        "prompts": [[[int(token) for token in ids], limit] for ids, limit in prompts],
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "questions.json", Path(folder) / "answers.json"
        write_json_atomic(asked, questions)
        command = [sys.executable, "-m", __spec__.name, str(path), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not answered.exists():
            lines = [line.strip() for line in done.stderr.splitlines() if " E " in f" {line} " or "rror" in line]
            why = lines[-1] if lines else f"exit code {done.returncode}"
            raise ModelError(f"llama.cpp does not take the file: {why}", where=where or str(path))
        found = read_json(answered)
    return Replies(
        cut=found["cut"],
        started=found["started"],
        chats=found["chats"],
        continued=[
            Continued(one["tokens"], one["ended"], [(int(token), float(value)) for token, value in one["logprobs"]])
            for one in found["continued"]
        ],
    )


def _serve(path: str, context: int) -> tuple[Any, str, str]:
    """Return a server of a file in this process (it ends with it), its address and its key."""
    import xllamacpp as llama

    key = secrets.token_urlsafe(KEY_BYTES)
    settings = llama.CommonParams()
    settings.model.path = path
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [key]
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.ui = False
    settings.offline = True
    settings.warmup = False
    settings.fit_params = False
    settings.cache_type_k = settings.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cpuparams.n_threads = available_threads()
    server = llama.Server(settings)
    return server, str(server.listening_address), key


def _answers(address: str, key: str, questions: dict[str, Any]) -> dict[str, Any]:
    def post(place: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{address}{place}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def cut(text: str, around: bool) -> list[int]:
        asked = {"content": text, "add_special": around, "parse_special": True}
        return [int(one) for one in post("/tokenize", asked)["tokens"]]

    def go_on(ids: list[int], limit: int) -> dict[str, Any]:
        asked = {
            "prompt": ids,
            "n_predict": limit,
            "temperature": 0,
            "n_probs": 1,
            "return_tokens": True,
            "cache_prompt": False,
        }
        found = post("/completion", asked)
        values = [[one["id"], one["logprob"]] for one in found.get("completion_probabilities", ())]
        return {"tokens": found["tokens"], "ended": found["stop_type"] == "eos", "logprobs": values}

    return {
        "cut": [cut(text, False) for text in questions["texts"]],
        "started": [cut(text, True) for text in questions["texts"]],
        "chats": [post("/apply-template", {"messages": one})["prompt"] for one in questions["chats"]],
        "continued": [go_on(ids, limit) for ids, limit in questions["prompts"]],
    }


def main(path: str, asked: str, answered: str) -> None:
    """Answer the questions in one file into another."""
    questions = read_json(Path(asked))
    server, address, key = _serve(path, questions["context"])
    write_json_atomic(Path(answered), _answers(address, key, questions))
    del server


if __name__ == "__main__":
    main(*sys.argv[1:])
