"""What the script and the Trainers share: the same rows, the model's own tokenizer, the plain model, the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from contestants.job import Job


def texts(job: Job, split: str) -> tuple[list[str], list[int]]:
    """Return a split's texts and class numbers."""
    found = json.loads(Path(job.texts).read_text(encoding="utf-8"))[split]
    return found["text"], found["label"]


def tokenizer_and_model(job: Job) -> tuple[Any, Any]:
    """Return the model's own tokenizer and the plain classification model with a new head."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    classes = json.loads(Path(job.texts).read_text(encoding="utf-8"))["classes"]
    torch.manual_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=len(classes))
    return tokenizer, model


def score(job: Job, tokenizer: Any, model: Any) -> tuple[int, int]:
    """Return (rightly labelled, all) over the rows of the job's split, in fp32."""
    inputs, labels = texts(job, job.split)
    model.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(inputs), 64):
            batch = tokenizer(
                inputs[start : start + 64],
                padding=True,
                truncation=True,
                max_length=job.max_length,
                return_tensors="pt",
            )
            answer = model(**batch).logits.argmax(-1)
            correct += int((answer == torch.tensor(labels[start : start + 64])).sum())
    return correct, len(labels)
