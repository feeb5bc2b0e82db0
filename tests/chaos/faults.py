"""A file system that fails: every open for writing, write, fsync, rename, replace, mkdir and removal below a folder.

Python's own calls are wrapped, and safetensors' writer, which leaves half a file behind. What other libraries write
(Arrow's files) is covered by the size limit and the small disk of `test_faults.py`.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR
FULL = {"write", "open", "mkdir", "tensors"}  # what a full disk refuses; names and removals still work


class Faults:
    """Counts the calls below a folder and lets one fail.

    Args:
        folder: calls on other paths pass.
        call: number of the call that fails, from 1; 0 only counts.
        how: `ENOSPC` (and every later call that needs room), `EIO` (this call alone), `EROFS` (from here on), or
            `kill` (half of a write, then SIGKILL).
        count: file that the number of calls is written to.
    """

    def __init__(self, folder: str, call: int, how: str, count: str | None) -> None:
        self.folder = os.path.realpath(folder)
        self.call, self.how, self.count = call, how, count
        self.seen = 0
        self.failed = False

    def inside(self, path: Any) -> bool:
        """Return whether a path or descriptor lies below the folder."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        try:
            return os.path.realpath(os.fsdecode(path)).startswith(self.folder)
        except (TypeError, ValueError):
            return False

    def strike(self, kind: str, path: Any, half: Callable[[], None] = lambda: None) -> None:
        """Count a call; fail it if it is its turn."""
        self.seen += 1
        if self.count:
            number = _open(self.count, "w")
            number.write(str(self.seen))
            number.close()
        later = self.failed and (self.how == "EROFS" or (self.how == "ENOSPC" and kind in FULL))
        if self.seen != self.call and not later:
            return
        self.failed = True
        if not later:
            half()
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.how)
        raise OSError(number, os.strerror(number), None if isinstance(path, int) else os.fsdecode(path))


_open = io.open


class Stream:
    """A file opened for writing whose writes may fail."""

    def __init__(self, inner: Any, faults: Faults, path: Any) -> None:
        self._inner, self._faults, self._path = inner, faults, path

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._inner.write(data[: len(data) // 2])
            self._inner.flush()

        self._faults.strike("write", self._path, half)
        return self._inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self._inner.close()

    def __iter__(self) -> Any:
        return iter(self._inner)


def install(folder: str = "", call: int = 0, how: str = "EIO", count: str | None = None, bytes: int = 0) -> None:
    """Make this process's file system fail.

    Args:
        folder: see `Faults`.
        call: the same.
        how: the same.
        count: the same.
        bytes: instead of all that, no file may grow beyond this (RLIMIT_FSIZE).
    """
    if bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
        return
    faults = Faults(folder, call, how, count)

    def wrap(owner: Any, name: str, kind: str, applies: Callable[..., bool] = lambda *a, **k: True) -> None:
        original = getattr(owner, name)

        def wrapped(path: Any, *args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None and faults.inside(path) and applies(*args, **options):
                faults.strike(kind, path)
            return original(path, *args, **options)

        setattr(owner, name, wrapped)

    for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
        wrap(os, name, name)
    wrap(os, "open", "open", lambda flags, *a, **k: bool(flags & WRITING))

    def opened(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        writing = set(mode) & set("wax+") and faults.inside(path)
        if writing and not isinstance(path, int):
            faults.strike("open", path)
        stream = _open(path, mode, *args, **options)
        return Stream(stream, faults, path) if writing else stream

    io.open = builtins.open = opened  # type: ignore[assignment]

    import safetensors.torch

    save_file = safetensors.torch.save_file

    def save(tensors: Any, path: Any, *args: Any, **options: Any) -> None:
        def half() -> None:
            save_file(tensors, path, *args, **options)
            os.truncate(path, Path(path).stat().st_size // 2)

        if faults.inside(path):
            faults.strike("tensors", path, half)
        save_file(tensors, path, *args, **options)

    safetensors.torch.save_file = save
