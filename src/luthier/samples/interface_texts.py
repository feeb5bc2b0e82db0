"""`sample:interface-translations` and `sample:docstring-summaries`: texts out of the wheel of Django.

The catalogues are gettext's (`.po`). What stands there once, translated and not marked fuzzy, is a pair; entries with
plural forms are left out, for they have several translations.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.errors import SampleError
from luthier.samples.tables import write_arrow
from luthier.samples.unpack import extract, zip_names

LANGUAGES = {
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "ru": "Russian",
    "zh_Hans": "Chinese",
}
CATALOGUE = re.compile(r"django/(?:conf|contrib/\w+)/locale/(\w+)/LC_MESSAGES/django\.po")
LICENCE = re.compile(r"django-[^/]+\.dist-info/licenses/LICENSE")
MAX_BYTES = 60_000_000
LONGEST_DOCUMENT, SHORTEST_DOCUMENT, LONGEST_SUMMARY = 600, 40, 120


def build_interface_translations(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write each English text of the interface with its translation, in some languages."""
    rows = translations(archive, scratch)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("source", "target", "language"))}
    write_arrow(folder / "data.arrow", columns, metadata=_provenance(archive, "locale/*/LC_MESSAGES/django.po"))
    _licence(archive, folder)
    return {"rows": len(rows), "languages": dict(sorted(Counter(row[2] for row in rows).items()))}


def build_docstring_summaries(archive: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """Write the text below each docstring's first line, and that line."""
    rows = docstrings(archive, scratch)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("document", "summary", "module"))}
    write_arrow(folder / "data.arrow", columns, metadata=_provenance(archive, "docstrings of django/"))
    _licence(archive, folder)
    return {"rows": len(rows)}


def translations(archive: Path, scratch: Path) -> list[tuple[str, str, str]]:
    """Return (English, translation, language) of the catalogues, each triple once."""
    names = [name for name in sorted(zip_names(archive, max_bytes=MAX_BYTES)) if _language(name)]
    files = extract(archive, {name: f"po/{name}" for name in names}, scratch, max_bytes=MAX_BYTES)
    found: dict[tuple[str, str, str], None] = {}
    for name, path in zip(names, files, strict=True):
        for source, target in read_catalogue(path.read_bytes().decode("utf-8"), name):
            found[source, target, LANGUAGES[_language(name) or ""]] = None
    return list(found)


def _language(name: str) -> str | None:
    match = CATALOGUE.fullmatch(name)
    return match[1] if match and match[1] in LANGUAGES else None


def read_catalogue(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a catalogue: translated, not fuzzy, without plural forms.

    Raises:
        SampleError: a text in it is not written as gettext writes texts.
    """
    for entry in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = [line for line in entry.split("\n") if line and not line.startswith("#")]
        flags = [line for line in entry.split("\n") if line.startswith("#,")]
        if any("fuzzy" in line for line in flags) or any(line.startswith("msgid_plural") for line in lines):
            continue
        source, target = _text("msgid", lines, where), _text("msgstr", lines, where)
        if source.strip() and target.strip():
            yield source, target


def _text(key: str, lines: list[str], where: str) -> str:
    """Return the text behind a keyword, joined from the lines that it goes over; empty where there is none."""
    parts: list[str] = []
    inside = False
    for line in lines:
        if not line.startswith('"'):
            word, _, line = line.partition(" ")
            inside = word == key
        if inside:
            try:
                parts.append(ast.literal_eval(line.strip()))
            except (SyntaxError, ValueError) as error:
                raise SampleError(f"must hold quoted texts; got {line!r}.", where=where) from error
    return "".join(parts)


def docstrings(archive: Path, scratch: Path) -> list[tuple[str, str, str]]:
    """Return (text below the first paragraph, first paragraph, module) of docstrings, white space made single."""
    names = [
        name
        for name in sorted(zip_names(archive, max_bytes=MAX_BYTES))
        if name.startswith("django/") and name.endswith(".py") and "/locale/" not in name
    ]
    files = extract(archive, {name: f"py/{name}" for name in names}, scratch, max_bytes=MAX_BYTES)
    found: dict[tuple[str, str], str] = {}
    for name, path in zip(names, files, strict=True):
        for document, summary in read_docstrings(path.read_bytes().decode("utf-8")):
            found.setdefault((document, summary), name.removesuffix(".py").replace("/", "."))
    return [(document, summary, module) for (document, summary), module in found.items()]


def read_docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Yield (rest, first paragraph) of a module's docstrings that have both, of a length to learn from."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a template of a module, not one
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        summary, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
        summary, rest = " ".join(summary.split()), " ".join(rest.split())
        fits = SHORTEST_DOCUMENT <= len(rest) <= LONGEST_DOCUMENT and 0 < len(summary) <= LONGEST_SUMMARY
        if fits and not summary.endswith(":"):
            yield rest, summary


def _provenance(archive: Path, part: str) -> dict[str, str]:
    return {"made_from": f"{archive.name}: {part}", "licence": "BSD-3-Clause"}


def _licence(archive: Path, folder: Path) -> None:
    name = next(name for name in zip_names(archive, max_bytes=MAX_BYTES) if LICENCE.fullmatch(name))
    extract(archive, {name: "LICENSE"}, folder, max_bytes=MAX_BYTES)
