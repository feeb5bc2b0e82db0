"""A small HTTP client that connects the way pip does: its proxy, its certificates, its credentials."""

from __future__ import annotations

import base64
import importlib.util
import netrc
import ssl
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from luthier.samples.pip_settings import PipSettings

_AGENT = "luthier (samples; pip-compatible index client)"


class Client:
    """Opens http and https addresses and nothing else.

    Args:
        settings: what pip is told on this machine.
    """

    def __init__(self, settings: PipSettings) -> None:
        self._timeout_s = settings.timeout_s
        self._trusted = settings.trusted_hosts
        self._logins = {_place(url): login for url in settings.indexes if (login := _login(url))}
        proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        self._checked = _opener(proxies, _context(settings))
        self._unchecked = _opener(proxies, _unchecked_context())

    def open(self, url: str, headers: dict[str, str]) -> HTTPResponse:
        """Return the response to a GET; the caller closes it.

        Raises:
            OSError: no answer, or one that is not a success (`urllib.error.HTTPError`).
        """
        request = urllib.request.Request(without_login(url), headers={"User-Agent": _AGENT, **headers})
        login = _login(url) or self._logins.get(_place(url)) or _netrc_login(urlsplit(url).hostname)
        if login:
            # Unredirected: a file host that the index points to never sees the index's password.
            request.add_unredirected_header("Authorization", f"Basic {login}")
        opener = self._unchecked if self._is_trusted(url) else self._checked
        try:
            response: HTTPResponse = opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()  # it is a response as well, and holds the connection
            raise
        return response

    def _is_trusted(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.hostname in self._trusted or f"{parts.hostname}:{parts.port}" in self._trusted


def without_login(url: str) -> str:
    """Return an address without user name and password, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _login(url: str) -> str | None:
    parts = urlsplit(url)
    return _encoded(unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _netrc_login(host: str | None) -> str | None:
    try:
        found = netrc.netrc().authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return _encoded(found[0], found[2] or "") if found else None


def _opener(proxies: dict[str, str] | None, context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    # Built by hand: the default opener would also follow file: and ftp: addresses that an index names.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _context(settings: PipSettings) -> ssl.SSLContext:
    cert = settings.cert
    if cert and Path(cert).is_dir():
        context = ssl.create_default_context(capath=cert)
    elif cert and Path(cert).is_file():
        context = ssl.create_default_context(cafile=cert)
    else:
        context = ssl.create_default_context()
        if importlib.util.find_spec("certifi") is not None:
            import certifi

            # Some Python builds come without the system's certificates; pip brings its own, as certifi does.
            context.load_verify_locations(certifi.where())
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert)
    return context


def _unchecked_context() -> ssl.SSLContext:
    # For pip's trusted-host only. What arrives is checked against the pinned sha256 all the same.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
