"""The command line's table of commands."""

from __future__ import annotations

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
