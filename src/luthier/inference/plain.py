"""Golden examples through plain Transformers: the folder's own classes, without any of our modules.

One function per kind of head says how its raw output is read off the plain class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.artifacts.bundle import BundleManifest, Golden
from luthier.artifacts.files import read_json
from luthier.errors import ArtifactError
from luthier.inference.predictor import Predictor

READ = ("input_ids", "token_type_ids")
Gap = Callable[[Any, Golden], float]


def replay_plain(folder: Path, manifest: BundleManifest, predictor: Predictor, goldens: Sequence[Golden]) -> float:
    """Replay through the classes that the folder's own configuration names; return the largest difference.

    Raises:
        ArtifactError: the label map, the token ids or the raw outputs are others.
    """
    model_folder = folder / manifest.backbone.folder
    tokenizer, model = _loaded(model_folder)
    side = f"the plain folder {model_folder.name}/ differs from the bundle: its"
    labels = predictor.task.plain_labels(predictor.entry.targets)
    if labels and list(model.config.id2label.values()) != labels:
        raise ArtifactError(f"{side} label map is {list(model.config.id2label.values())}.", where=str(folder))
    for number, golden in enumerate(goldens):
        texts = predictor.task.plain_texts(golden.inputs)
        if texts is None:
            continue
        ids = tokenizer(*texts, truncation=True)["input_ids"]
        if ids != golden.features[0]["input_ids"]:
            raise ArtifactError(f"{side} token ids on golden example {number} are others.", where=str(folder))
    worst = max(GAPS[manifest.heads[0].kind](model, golden) for golden in goldens)
    if worst > manifest.runtimes[0].raw_tolerance:
        raise ArtifactError(f"{side} raw outputs differ by {worst:.3g}.", where=str(folder))
    return worst


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Return the folder's tokenizer and model, as its configuration names them."""
    import torch
    import transformers

    from luthier.models.source import quiet_transformers

    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, config.architectures[0]).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    return tokenizer, model.eval()


def _asked(model: Any, feature: Mapping[str, Sequence[int]]) -> Any:
    """Return what the plain class says to one feature."""
    import torch

    from luthier.models.reading import reads_types

    names = [name for name in READ if name in feature and (name != "token_type_ids" or reads_types(model))]
    with torch.inference_mode():
        return model(**{name: torch.tensor([list(feature[name])]) for name in names})


def _distance(found: NDArray[np.float64], kept: Sequence[float]) -> float:
    return float(np.max(np.abs(np.ravel(found) - np.asarray(kept)), initial=0.0))


def _logits_gap(model: Any, golden: Golden) -> float:
    pairs = zip(golden.features, golden.raw, strict=True)
    return max(_distance(_asked(model, feature).logits[0].double().numpy(), raw["logits"]) for feature, raw in pairs)


def _next_token_gap(model: Any, golden: Golden) -> float:
    """Return how far the log-probabilities of a golden answer's tokens are from the golden's."""
    import torch

    prompt = golden.features[0]["input_ids"]
    answer = [int(token) for token in golden.raw[0]["tokens"] if token >= 0]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
    found = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(answer)[:, None])[:, 0].numpy()
    return _distance(found, golden.raw[0]["logprob"][: len(answer)])


def _span_gap(model: Any, golden: Golden) -> float:
    """Return how far start and end scores of each token are from the golden's."""
    import torch

    worst = 0.0
    for feature, raw in zip(golden.features, golden.raw, strict=True):
        found = _asked(model, feature)
        both = torch.stack([found.start_logits[0], found.end_logits[0]], dim=-1)
        worst = max(worst, _distance(both.double().numpy(), raw["logits"]))
    return worst


def _embedding_gap(model: Any, golden: Golden) -> float:
    """Return the gap of a vector that is pooled as sentence-transformers does, by its own files in the folder."""
    import torch

    folder = Path(model.name_or_path)
    modes = read_json(folder / "1_Pooling" / "config.json")
    states = _asked(model, golden.features[0]).last_hidden_state[0].double()
    if modes["pooling_mode_mean_tokens"]:
        vector = states.mean(dim=0)
    else:
        vector = states[-1 if modes["pooling_mode_lasttoken"] else 0]
    if any(module["type"].endswith(".Normalize") for module in read_json(folder / "modules.json")):
        vector = torch.nn.functional.normalize(vector, dim=0)
    return _distance(vector.numpy(), golden.raw[0]["embedding"])


def _answer_gap(model: Any, golden: Golden) -> float:
    """Return the same of an encoder-decoder, whose answer begins behind a start token."""
    import torch

    from luthier.models.reading import start_token

    answer = [int(token) for token in golden.raw[0]["tokens"] if token >= 0]
    read = torch.tensor([golden.features[0]["input_ids"]])
    before = torch.tensor([[start_token(model), *answer[:-1]]])
    with torch.inference_mode():
        logits = model(input_ids=read, attention_mask=torch.ones_like(read), decoder_input_ids=before).logits[0]
    found = torch.log_softmax(logits.double(), dim=-1).gather(1, torch.tensor(answer)[:, None])[:, 0].numpy()
    return _distance(found, golden.raw[0]["logprob"][: len(answer)])


GAPS: dict[str, Gap] = {
    "classification": _logits_gap,
    "embedding": _embedding_gap,
    "language-model": _next_token_gap,
    "span": _span_gap,
    "token-classification": _logits_gap,
    "sequence-to-sequence": _answer_gap,
}
