"""Transformers' Trainer with PEFT's LoRA on prompts and completions: both with their defaults, and the Trainer tuned.

The loss is on the completion alone (labels of -100 on the prompt), rows are padded on the right to the longest of the
batch. Of the defaults one is changed in the Trainer's favour: it writes no checkpoints, while Luthier's count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from contestants.job import Job, Measured, Meter
from contestants.trainer import TUNED, _clock

IGNORED = -100


def run(job: Job) -> Measured:
    """Train with the defaults and measure."""
    return _run(job, {})


def run_tuned(job: Job) -> Measured:
    """Train with the Trainer tuned and measure."""
    return _run(job, TUNED)


def _run(job: Job, chosen: Mapping[str, Any]) -> Measured:
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    torch.manual_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    plain = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    model = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM"))
    arguments = TrainingArguments(
        output_dir=job.folder,
        num_train_epochs=job.epochs,
        save_strategy="no",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=job.seed,
        **chosen,
    )
    meter = Meter(job)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = padded(rows, tokenizer.pad_token_id)
        meter.batch(len(rows), sum(len(row["input_ids"]) for row in rows), batch["input_ids"].numel())
        return batch

    rows = Dataset.from_list(encoded(job, tokenizer))
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[_clock(meter)])
    trainer.train()
    return meter.measured(sum(p.numel() for p in model.parameters() if p.requires_grad))


def encoded(job: Job, tokenizer: Any) -> list[dict[str, list[int]]]:
    """Return ids and labels of the training rows: the chat template, the completion, the end token."""
    found = json.loads(Path(job.texts).read_text(encoding="utf-8"))["train"]
    rows = []
    for prompt, completion in zip(found["prompt"], found["completion"], strict=True):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        answer = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = [*asked, *answer][: job.max_length]
        rows.append({"input_ids": ids, "labels": [*([IGNORED] * len(asked)), *answer][: job.max_length]})
    return rows


def padded(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Return rows padded on the right, as `DataCollatorForSeq2Seq` does."""
    longest = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([[*row[name], *([value] * (longest - len(row[name])))] for row in rows])

    ids = filled("input_ids", pad_id)
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": filled("labels", IGNORED)}
