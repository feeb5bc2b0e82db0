"""Transformers' Trainer over the same rows: with its defaults, and tuned with what its arguments offer.

Of its defaults one is changed in its favour: it writes no checkpoints, while Luthier's count in Luthier's time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from contestants.job import Job, Measured, Meter, non_embedding
from contestants.plain import score, texts, tokenizer_and_model
from luthier.training.hardware import choose_precision

os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
TUNED = {
    # Where the processor only emulates bf16, fp32 is several times faster; who tunes would see that.
    "bf16": choose_precision("auto", "cpu").value == "bf16",
    "train_sampling_strategy": "group_by_length",
    "per_device_train_batch_size": 32,
    "optim": "adamw_torch_fused",
}


def run(job: Job) -> Measured:
    """Train with the Trainer's defaults and measure."""
    return _run(job, {})


def run_tuned(job: Job) -> Measured:
    """Train with the Trainer tuned and measure."""
    return _run(job, TUNED)


def _run(job: Job, chosen: dict[str, Any]) -> Measured:
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    tokenizer, model = tokenizer_and_model(job)
    if job.frozen:
        freeze(model)
    inputs, labels = texts(job, "train")
    rows = Dataset.from_dict({"text": inputs, "label": labels}).map(
        lambda block: tokenizer(block["text"], truncation=True, max_length=job.max_length),
        batched=True,
        remove_columns=["text"],
    )
    arguments = TrainingArguments(
        output_dir=job.folder,
        num_train_epochs=job.epochs,
        save_strategy="no",
        use_cpu=True,  # without it bf16 is refused where there is no GPU
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,  # it would only warn that there is no GPU
        seed=job.seed,
        **chosen,
    )
    meter = Meter(job)
    Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=_metered(DataCollatorWithPadding(tokenizer), meter),
        callbacks=[_clock(meter)],
    ).train()
    return meter.measured(non_embedding(model), *(score(job, tokenizer, model) if job.whole else ()))


def freeze(model: Any) -> None:
    """Freeze the backbone and leave out dropout; the head trains, with the hidden layer that Transformers counts to it.

    BERT's pooler lies in the backbone's class; Luthier's head holds the same matrix, so it trains here too.
    """
    import torch

    model.base_model.requires_grad_(False)
    model.base_model.pooler.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _metered(collate: Callable[[Any], Any], meter: Meter) -> Callable[[Any], Any]:
    def metered(rows: Any) -> Any:
        tokens = sum(len(row["input_ids"]) for row in rows)
        batch = collate(rows)
        meter.batch(len(rows), tokens, batch["input_ids"].numel())
        return batch

    return metered


def _clock(meter: Meter) -> Any:
    """Return a callback of the Trainer that drives the meter."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]  # Transformers is not typed
        """Take the time after each step, and stop when enough was measured."""

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Start before the first batch is made."""
            meter.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take the time."""
            control.should_training_stop = control.should_training_stop or meter.step()

    return Clock()
