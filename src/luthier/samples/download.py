"""Bring one file of known size and sha256 to this machine, continuing where an earlier attempt stopped."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from luthier.samples.client import Client

T = TypeVar("T")
Progress = Callable[[int, int], None]
_BLOCK = 1 << 18
_FIRST_PAUSE_S = 0.25  # pip's backoff factor
_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}


class NotPinnedError(ValueError):
    """What is offered under the file's name is another file; nothing of it was kept."""


def download(
    client: Client, url: str, part: Path, *, size: int, retries: int, progress: Progress | None = None
) -> None:
    """Fetch an address into a partial file, in as many requests as it takes.

    Args:
        client: connects as pip does.
        url: http or https.
        part: the partial file; what it already holds is kept and only the rest is asked for.
        size: of the whole file, in bytes; more is never written.
        retries: how many times an interrupted transfer is taken up again.
        progress: called with bytes so far and bytes in all.

    Raises:
        OSError: it cannot be reached, or the transfer broke off too often; `part` is kept.
        NotPinnedError: the file there has another size.
    """
    patiently(lambda: _continue(client, url, part, size, progress), retries=retries)


def patiently(action: Callable[[], T], *, retries: int) -> T:
    """Return what the action returns, trying again, later each time, when it fails in a way that may pass.

    Raises:
        OSError: the last failure.
    """
    for attempt in range(retries + 1):
        try:
            return action()
        except (OSError, http.client.HTTPException) as error:
            if attempt == retries or not _is_passing(error):
                raise _as_os_error(error) from error
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
    raise AssertionError("retries must be at least 0")


def copy(source: Path, part: Path, *, size: int) -> None:
    """Copy a file of this machine into the partial file; its bytes are checked where those of a download are."""
    if source.stat().st_size != size:
        raise NotPinnedError(f"is {source.stat().st_size} bytes long; expected {size}")
    shutil.copyfile(source, part)


def reason(error: BaseException) -> str:
    """Return why something could not be reached, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "did not answer in time"
    if isinstance(inner, socket.gaierror):
        return "its name cannot be resolved"
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return text or type(inner).__name__


def _is_passing(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _WORTH_RETRYING
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return not isinstance(inner, (socket.gaierror, ssl.SSLCertVerificationError, ConnectionRefusedError))


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"the transfer broke off ({reason(error)})")


def _continue(client: Client, url: str, part: Path, size: int, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.open(url, headers) as response:
        start, total = _extent(response, have)
        if total is not None and total != size:
            raise NotPinnedError(f"offers {total} bytes under that name; expected {size}")
        _receive(response, part, start=start, size=size, progress=progress)


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return where the body starts in the file and how long the file is, as far as the answer says."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise OSError("answered with another part of the file than was asked for")
        return have, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _receive(
    response: http.client.HTTPResponse, part: Path, *, start: int, size: int, progress: Progress | None
) -> None:
    have = start
    with part.open("r+b" if start else "wb") as out:
        out.seek(start)
        out.truncate()
        while block := response.read1(_BLOCK):
            have += len(block)
            if have > size:
                raise NotPinnedError(f"offers more than the expected {size} bytes under that name")
            out.write(block)
            if progress is not None:
                progress(have, size)
        out.flush()
        os.fsync(out.fileno())
    if have < size:
        raise OSError(f"the transfer broke off after {have} of {size} bytes")
