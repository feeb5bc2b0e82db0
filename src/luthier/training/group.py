"""The processes of one run: rank 0 does the run, the others wait at a key-value store until it asks them to train.

What passes over the store is JSON and text. The others wait without a time limit, at little cost: they look at the
store a few times a second, not in a message that would time out while rank 0 checks or evaluates.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch

from luthier.errors import LuthierError, StoppedError, TrainingError
from luthier.training.sharding import ShardedWorld
from luthier.training.world import DistributedWorld

PATIENCE = timedelta(days=7)  # in one message; a process that ends is noticed at once
LOOK_SECONDS = 0.2
REASON_SECONDS = 5.0
TRAIN, END, FAILED, STOP = "train", "end", "failed", "stop"
LOST = ("closed by peer", "reset by peer", "gloo", "nccl", "broken pipe", "timed out")


class Group:
    """This process among those that torchrun started.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        _stay_inside()
        store, self.rank, self.size = next(rendezvous("env://", timeout=timedelta(minutes=30)))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=self.rank,
            world_size=self.size,
            timeout=PATIENCE,
        )
        self._store = PrefixStore("luthier", store)

    def world(self, device: str, *, sharded: bool) -> DistributedWorld:
        """Return what the loop needs to know of the group."""
        return ShardedWorld(device) if sharded else DistributedWorld(device)

    def ask(self, order: dict[str, Any]) -> None:
        """On rank 0: tell the others to train; `order` is JSON-like."""
        self._store.set(TRAIN, json.dumps(order))

    def wait(self, stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Elsewhere: return what rank 0 asks for; None once the run has ended or this process was asked to stop."""
        while not self._store.check([TRAIN]):
            if stop():
                self._store.set(STOP, "1")
                return None
            if self._store.check([END]):
                return None
            time.sleep(LOOK_SECONDS)
        found: dict[str, Any] = json.loads(self._store.get(TRAIN))
        return found

    def stop_asked(self) -> bool:
        """Return whether another process was asked to stop while it waited."""
        return bool(self._store.check([STOP]))

    def report(self, error: Exception) -> None:
        """Elsewhere: leave an error for rank 0, which tells it; what follows from the end of another is none."""
        if is_lost(error):
            return
        told = {"rank": self.rank, "bug": not isinstance(error, LuthierError), "text": str(error)}
        if told["bug"]:
            told |= {"text": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        try:
            self._store.set(FAILED, json.dumps(told))
        except RuntimeError:  # rank 0 and its store are gone
            raise error from None

    def reason(self) -> Exception:
        """On rank 0: return why the others are gone, as an error to raise."""
        deadline = time.monotonic() + REASON_SECONDS
        while time.monotonic() < deadline:
            if self._store.check([FAILED]):
                return _told(json.loads(self._store.get(FAILED)))
            if self.stop_asked():
                return StoppedError("stopped with another process of the run.", fix=AGAIN)
            time.sleep(LOOK_SECONDS)
        return TrainingError("a process that trains together with this one ended.", fix=AGAIN)

    def leave(self) -> None:
        """Let the others go, and close the connections."""
        import torch.distributed as dist

        with suppress(RuntimeError):
            if self.rank == 0:
                self._store.set(END, "1")
            dist.destroy_process_group()


AGAIN = "Give the same command again to go on from the last checkpoint."


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that another process is gone."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in LOST)


def _told(failure: dict[str, Any]) -> Exception:
    """Return another process's error as one to raise here."""
    text = f"process {failure['rank']}: {failure['text']}"
    if not failure["bug"]:
        return TrainingError(text)
    error = RuntimeError(text)
    error.add_note(failure["trace"])
    return error


def _stay_inside() -> None:
    """Keep the processes of one machine on its loopback interface, unless somebody chose another."""
    alone = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    if alone and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
