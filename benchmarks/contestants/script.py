"""The plain PyTorch script as tutorials write it: every row padded to 128, batch 16, fp32, AdamW, shuffled loader."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

from contestants.job import Job, Measured, Meter, non_embedding
from contestants.plain import score, texts, tokenizer_and_model

BATCH = 16
LEARNING_RATE = 2e-5


def run(job: Job) -> Measured:
    """Train and measure."""
    tokenizer, model = tokenizer_and_model(job)
    inputs, labels = texts(job, "train")
    encoded = tokenizer(
        inputs, padding="max_length", truncation=True, max_length=job.padded_length, return_tensors="pt"
    )
    rows = TensorDataset(encoded["input_ids"], encoded["attention_mask"], torch.tensor(labels))
    loader = DataLoader(rows, batch_size=BATCH, shuffle=True, generator=torch.Generator().manual_seed(job.seed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.train()
    meter = Meter(job)
    meter.start()
    _train(job, meter, model, loader, optimiser)
    return meter.measured(non_embedding(model), *(score(job, tokenizer, model) if job.whole else ()))


def _train(
    job: Job,
    meter: Meter,
    model: torch.nn.Module,
    loader: DataLoader[tuple[torch.Tensor, ...]],
    optimiser: torch.optim.AdamW,
) -> None:
    for _ in range(job.epochs):
        for ids, mask, label in loader:
            optimiser.zero_grad()
            model(input_ids=ids, attention_mask=mask, labels=label).loss.backward()
            optimiser.step()
            meter.batch(len(ids), int(mask.sum()), ids.numel())
            if meter.step():
                return
