"""The report: one HTML file that needs nothing else, drawn from a run's files."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from luthier.artifacts.files import write_bytes_atomic
from luthier.artifacts.run import RunDir
from luthier.config import Plan, ReportStage
from luthier.reporting.blocks import draw_blocks
from luthier.reporting.compression_part import compression_section
from luthier.reporting.contents import ReportData, read_run
from luthier.reporting.data_part import findings_section, rows_section
from luthier.reporting.headline import headline, next_section, slices_section
from luthier.reporting.parts import Prose, Section
from luthier.reporting.run_part import metrics_section, run_section
from luthier.reporting.training_part import training
from luthier.reporting.words import Words, words

TEMPLATES = Path(__file__).parent / "templates"
SLICES_PLACE, COMPRESSION_PLACE, TRAINING_PLACE = 30, 55, 60


def write_report(record: RunDir, plan: Plan, path: Path) -> None:
    """Write a run's report.

    Args:
        record: the run; its evaluation must be there, other files that are not leave their part out.
        plan: what was run, with the report's language.
        path: the HTML file.

    Raises:
        ArtifactError: there is no evaluation, or a file is damaged.
    """
    write_bytes_atomic(path, render(read_run(record, plan)).encode())


def render(data: ReportData) -> str:
    """Return the report as one HTML page; equal data give equal pages."""
    chosen = words(data.plan.only(ReportStage).spec.language)
    top = headline(data, chosen)
    template = _environment().get_template("report.html")
    return template.render(
        data=data,
        words=chosen,
        top=top,
        sections=[next_section(data, top.verdict, chosen), *_sections(data, chosen)],
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        script_hash=_script_hash(),
    )


def _sections(data: ReportData, chosen: Words) -> list[Section]:
    placed, unknown = draw_blocks(data.evaluation.blocks, chosen)
    placed += [(SLICES_PLACE, one) for one in [slices_section(data, chosen)] if one is not None]
    placed += [(TRAINING_PLACE, one) for one in [training(data, chosen)] if one is not None]
    if data.compression is not None:
        placed.append((COMPRESSION_PLACE, compression_section(data.compression, chosen)))
    sections = [section for _, section in sorted(placed, key=lambda pair: pair[0])]
    if data.check is not None:
        sections += [rows_section(data.check, chosen), findings_section(data.check, chosen)]
    sections.append(metrics_section(data, chosen))
    if unknown:
        about = Prose(chosen("unknown.about", kinds=", ".join(unknown)))
        sections.append(Section("unknown", chosen("unknown.title"), "", (about,)))
    return [*sections, run_section(data, chosen)]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _script_hash() -> str:
    """Return what the page's content policy allows to run: our one script, so that no text of a user can."""
    return base64.b64encode(hashlib.sha256(_asset("report.js").encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
