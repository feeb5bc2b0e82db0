"""`python -m contestants NAME JOB RESULT`: one measurement in a fresh process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from contestants import CHAT_NAMES
from contestants.job import Job, Measured


def _runner(name: str) -> Callable[[Job], Measured]:
    """Return a contestant's function; only its own libraries are imported."""
    if name == "luthier":
        from contestants import loop

        return loop.run
    if name == "script":
        from contestants import script

        return script.run
    if name in CHAT_NAMES:
        from contestants import chat

        return {"chat_trainer": chat.run, "chat_trainer_tuned": chat.run_tuned}[name]
    from contestants import trainer

    return {"trainer": trainer.run, "trainer_tuned": trainer.run_tuned}[name]


def main(name: str, job_path: str, result_path: str) -> None:
    """Do a job and write the result as JSON."""
    import torch
    from transformers.utils import logging

    job = Job.read(Path(job_path))
    torch.set_num_threads(job.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    Path(result_path).write_text(json.dumps(asdict(_runner(name)(job))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
