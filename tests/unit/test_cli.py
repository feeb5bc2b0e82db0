"""The command line's table of commands."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from luthier.cli import COMMANDS, main


def test_every_command_can_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert sorted(COMMANDS) == sorted(shown)
    with pytest.raises(SystemExit) as stop:
        main(["profle"])
    assert stop.value.code == 2
    assert 'Did you mean "profile"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "answers.csv"),
        shutil.Error([("a", "b", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "b")))]),
    ],
)
def test_a_full_disk_is_one_sentence_in_every_command(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> int:
        raise error

    monkeypatch.setattr("luthier.cli.schema", full)
    assert main(["schema"]) == 2
    assert "the file system refuses: No space left on device." in capsys.readouterr().err


def test_a_bug_is_told_where_its_log_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("planted")

    (tmp_path / "home").write_text("a file in the place of a folder")
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("luthier.cli.schema", broken)
    assert main(["schema"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ZeroDivisionError: planted (the traceback is above)" in said
