from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from luthier.samples import pip_settings
from luthier.samples.pip_settings import PipSettings, index_in_help, parse_settings, pip_command, read_pip_settings

DEFAULT_INDEX = "https://default/simple"


def test_nothing_configured_gives_pips_defaults() -> None:
    assert parse_settings("", {}) == PipSettings()
    assert parse_settings("", {}, default_index="https://d/simple").indexes == ("https://d/simple",)


def test_pips_own_default_is_read_from_its_help() -> None:
    command = pip_command()
    assert command is not None
    text = subprocess.run([*command, "download", "--help"], capture_output=True, text=True, check=True).stdout
    assert str(index_in_help(text)).startswith("https://")
    assert index_in_help("-i <url>  Base URL of the Python Package\n   Index (default\n   https://d/simple). This") == (
        "https://d/simple"
    )
    assert index_in_help("nothing") is None


def test_sections_from_weakest_to_strongest() -> None:
    lines = [
        ":env:.index-url='https://env/simple/'",
        "global.index-url='https://global/simple'",
        "install.index-url='https://install/simple'",
        "list.index-url='https://never/simple'",
    ]
    assert parse_settings("\n".join(lines), {}).indexes == ("https://env/simple",)
    assert parse_settings("\n".join(lines[1:]), {}).indexes == ("https://install/simple",)
    assert parse_settings("\n".join([*lines[1:], "download.index-url='https://d/s'"]), {}).indexes == ("https://d/s",)


def test_lists_numbers_and_switches() -> None:
    listed = "\n".join(
        [
            r"global.extra-index-url='https://a/simple\nfile:///b/simple https://a/simple'",
            "global.find-links='/wheels'",
            "global.trusted-host='a b:81'",
            "global.proxy='http://proxy:3128'",
            "global.timeout='60'",
            ":env:.retries='0'",
            ":env:.cert=''",
        ]
    )
    settings = parse_settings(listed, {"REQUESTS_CA_BUNDLE": "/ca.pem"}, default_index=DEFAULT_INDEX)
    assert settings == PipSettings(
        indexes=(DEFAULT_INDEX, "https://a/simple", "file:///b/simple"),
        find_links=("/wheels",),
        trusted_hosts=("a", "b:81"),
        proxy="http://proxy:3128",
        cert="/ca.pem",
        timeout_s=60.0,
        retries=0,
    )
    assert parse_settings("global.no-index='true'", {}).indexes == ()
    assert parse_settings("global.no-index='true'", {}, default_index=DEFAULT_INDEX).indexes == ()
    assert parse_settings("global.no-index='false'", {}, default_index=DEFAULT_INDEX).indexes == (DEFAULT_INDEX,)


def test_pip_is_asked_for_its_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://mirror/simple\nextra-index-url =\n    https://b/s\n    https://c/s\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    settings = read_pip_settings()
    assert settings.indexes[0] == "https://mirror/simple"
    assert {"https://b/s", "https://c/s"} <= set(settings.indexes)
    assert settings.find_links == ("/wheels",)


def test_without_pip_its_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_settings, "pip_command", lambda: None)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/it's/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b/s\nhttps://c/s")
    assert read_pip_settings().indexes == ("https://mirror/it's/simple", "https://b/s", "https://c/s")
