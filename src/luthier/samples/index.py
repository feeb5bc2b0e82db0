"""Where a distribution file may be had: folders, find-links pages and simple indexes (PEP 503 and PEP 691)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from luthier.samples.client import Client
from luthier.samples.pip_settings import PipSettings

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_PAGE_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Place:
    """Somewhere files may be.

    Attributes:
        url: the address of a page, or of a folder on this machine (`file:`).
        is_index: whether pages lie below it, one a project; otherwise it is itself a page or a folder of files.
    """

    url: str
    is_index: bool


@dataclass(frozen=True)
class Link:
    """One file on offer.

    Attributes:
        url: where it is; `file:` for this machine.
        sha256: what the index says of it, or None.
    """

    url: str
    sha256: str | None

    @property
    def local_path(self) -> Path | None:
        """Return the path, if the file is on this machine."""
        return local_path(self.url)


def places(settings: PipSettings) -> Iterator[Place]:
    """Yield where to look, local folders first, then the indexes in pip's order."""
    for entry in settings.find_links:
        yield Place(
            entry if "://" in entry or entry.startswith("file:") else Path(entry).absolute().as_uri(), is_index=False
        )
    for index in settings.indexes:
        yield Place(index, is_index=True)


def local_path(url: str) -> Path | None:
    """Return the path that a `file:` address means, or None for another kind."""
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def find_link(place: Place, package: str, filename: str, client: Client) -> Link | None:
    """Return where a place keeps the file, or None if it has no such file.

    Raises:
        OSError: the place cannot be reached or refuses.
        ValueError: what it answers is no index page.
    """
    folder = local_path(place.url)
    if folder is None:
        url = f"{place.url}/{_normalised(package)}/" if place.is_index else place.url
        return _among(_read_page(url, client), filename)
    if place.is_index:
        folder = folder / _normalised(package)
    if folder.is_file():
        return _among(_page_links(folder.read_text("utf-8"), folder.as_uri()), filename)
    if (folder / filename).is_file():
        return Link((folder / filename).as_uri(), None)
    page = folder / "index.html"
    return _among(_page_links(page.read_text("utf-8"), page.as_uri()), filename) if page.is_file() else None


def _normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _among(links: list[Link], filename: str) -> Link | None:
    return next((link for link in links if unquote(urlsplit(link.url).path).rpartition("/")[2] == filename), None)


def _read_page(url: str, client: Client) -> list[Link]:
    with client.open(url, {"Accept": _ACCEPT, "Accept-Encoding": "identity"}) as response:
        body = response.read(_PAGE_MAX_BYTES + 1)
        kind = response.headers.get_content_type()
        address = response.geturl()
    if len(body) > _PAGE_MAX_BYTES:
        raise ValueError(f"its page is longer than {_PAGE_MAX_BYTES} bytes")
    text = body.decode("utf-8", errors="replace")
    return _json_links(json.loads(text), address) if kind.endswith("json") else _page_links(text, address)


def _json_links(page: Any, base: str) -> list[Link]:
    files = page.get("files") if isinstance(page, dict) else None
    if not isinstance(files, list):
        raise ValueError("its page lists no files")
    return [Link(urljoin(base, file["url"]), file.get("hashes", {}).get("sha256")) for file in files]


def _page_links(text: str, base: str) -> list[Link]:
    parser = _Anchors()
    parser.feed(text)
    base = urljoin(base, parser.base) if parser.base else base
    links = []
    for target in parser.targets:
        url, fragment = urldefrag(urljoin(base, target))
        algorithm, _, digest = fragment.partition("=")
        links.append(Link(url, digest if algorithm == "sha256" else None))
    return links


class _Anchors(HTMLParser):
    """The targets of a page's links and the base they are relative to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address of an anchor or base element."""
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.targets.append(address)
        elif tag == "base" and address and self.base is None:
            self.base = address
