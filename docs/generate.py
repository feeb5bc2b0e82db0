"""Writes what is generated in docs/: the reference pages from the code, and with --notebooks the notebooks' outputs.

python docs/generate.py              write the pages of docs/reference
python docs/generate.py --check      write nothing; fail where a page is not what the code says now
python docs/generate.py --notebooks  execute every notebook of docs/ as well, in place
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier import cli
from luthier.config.schema import reference_markdown
from luthier.pipeline.combinations import combinations_markdown
from luthier.pipeline.names import known_names

DOCS = Path(__file__).resolve().parent
CELL_TIMEOUT_S = 900

CLI_HEAD = """# The command line

<!-- Written by `make docs`; do not edit. -->

Results go to standard output, progress and messages to standard error. Exit codes:

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | a bug in Luthier; the traceback is kept in a file that the message names |
| 2 | something in your input is wrong, or a finding of the check stops the run; the message says what to do |
| 3 | everything ran, but a number you asked for was not met |
| 130 | stopped by a signal; a run keeps a checkpoint, and the same command goes on from there |
"""


def pages() -> dict[Path, str]:
    """Return each generated page's path and text."""
    return {
        DOCS / "reference" / "project.md": reference_markdown(known_names()),
        DOCS / "reference" / "cli.md": cli_markdown(cli._parser()),
        DOCS / "reference" / "combinations.md": combinations_markdown(),
    }


def cli_markdown(parser: argparse.ArgumentParser) -> str:
    """Return the reference page of a parser's commands."""
    commands = list(leaves(parser))
    listed = [f"| [`{one.prog}`](#{anchor(one.prog)}) | {one.description} |" for one in commands]
    head = [CLI_HEAD, "| command | what it does |", "| --- | --- |", *listed, ""]
    options = [row(action) for action in parser._actions if action.option_strings and action.dest != "help"]
    head += [f"`{parser.prog} --help` lists the commands; every command has `--help`.", "", *table(options)]
    return "\n".join([*head, *(line for one in commands for line in section(one))])


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of the commands that do something, in the order of the help."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for child in action.choices.values():
            yield from leaves(child)


def section(parser: argparse.ArgumentParser) -> list[str]:
    """Return a command's part of the page."""
    actions = [action for action in parser._actions if action.dest != "help"]
    places = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    usage = " ".join([parser.prog, *(f"[{spelled(action)}]" for action in options), *map(spelled, places)])
    return [
        f"## {parser.prog}",
        "",
        parser.description or "",
        "",
        f"    {usage}",
        "",
        *table([row(action) for action in [*places, *options]]),
    ]


def spelled(action: argparse.Action) -> str:
    """Return an argument as it stands in a usage line."""
    name = str(action.metavar or action.dest.upper())
    if action.option_strings:
        long = action.option_strings[-1]
        return long if action.nargs == 0 else f"{long} {name}"
    return f"{name} [{name} ...]" if action.nargs == "+" else name


def row(action: argparse.Action) -> tuple[str, str]:
    """Return an argument and what it means."""
    name = str(action.metavar or action.dest.upper()) if action.nargs != 0 else ""
    shown = [f"`{f'{option} {name}'.strip()}`" for option in action.option_strings] or [f"`{spelled(action)}`"]
    again = " (may be given several times)" if isinstance(action, argparse._AppendAction) else ""
    text = (action.help or "").replace("<", "&lt;").replace("|", "&#124;")
    return ", ".join(shown), f"{text}{again}"


def table(rows: list[tuple[str, str]]) -> list[str]:
    """Return a table of arguments; nothing where there are none."""
    if not rows:
        return []
    return ["| argument | meaning |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows), ""]


def anchor(title: str) -> str:
    """Return the link target that a heading gets."""
    return title.lower().replace(" ", "-")


def execute(notebook: Path) -> None:
    """Run a notebook from the folder it is in and keep its outputs, without what differs between machines."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    where = {"metadata": {"path": str(notebook.parent)}}
    NotebookClient(content, timeout=CELL_TIMEOUT_S, resources=where).execute()
    content.metadata = {"kernelspec": content.metadata.kernelspec, "language_info": {"name": "python"}}
    for cell in content.cells:
        cell.metadata.pop("execution", None)  # the times of each cell
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if "TqdmWarning" not in one.get("text", "")]  # no widgets here
            for output in cell.outputs:
                tidy(output)
    nbformat.write(content, notebook)


def tidy(output: dict[str, Any]) -> None:
    """Take this machine's paths out of a cell's output, and the plain form of what is shown as a table."""
    data = output.get("data", {})
    if "text/html" in data:
        data.pop("text/plain", None)
    for values, key in ((data, "text/html"), (data, "text/plain"), (output, "text")):
        if key in values:
            values[key] = values[key].replace(f"{DOCS.parent}/", "").replace(str(Path.home()), "~")


def main() -> int:
    """Write or check the pages; return the exit code."""
    parser = argparse.ArgumentParser(description="Write what is generated in docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    parser.add_argument("--notebooks", action="store_true", help="execute the notebooks as well")
    options = parser.parse_args()
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)} is out of date; make docs writes it")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    for notebook in sorted(DOCS.rglob("*.ipynb")) if options.notebooks else ():
        execute(notebook)
        print(f"executed {notebook.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
