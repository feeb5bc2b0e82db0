"""Ways of doing the same training, each run in a process of its own: `python -m contestants NAME JOB RESULT`."""

from __future__ import annotations

NAMES = {
    "script": "plain PyTorch script (padded to 128, batch 16, fp32)",
    "trainer": "Transformers Trainer, its defaults (batch 8, fp32)",
    "trainer_tuned": "Transformers Trainer, tuned (bf16 where native, grouped by length, batch 32, fused AdamW)",
    "luthier": "Luthier, the recipe's settings",
}

CHAT_NAMES = {
    "chat_trainer": "Trainer + PEFT LoRA, their defaults (batch 8, fp32)",
    "chat_trainer_tuned": "Trainer + PEFT LoRA, tuned (bf16 where native, grouped by length, batch 32, fused AdamW)",
    "luthier": "Luthier, the recipe's settings",
}
