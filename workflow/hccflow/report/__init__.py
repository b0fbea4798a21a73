"""The report: every table of a study becomes one page that a reader can believe, and the tables beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hccflow.report.page import Section, Table, breakable, condense, footnote_mark
from hccflow.report.results import Results
from hccflow.report.sections import SECTIONS
from hccflow.report.words import ASSETS
from hccflow.tables import write_table, write_text


def build_report(root: Path, settings: Mapping[str, Any]) -> list[Section]:
    """Sections of a study's report in reading order.

    Parameters
    ----------
    root : Path
        Folder of the study's results.
    settings : mapping
        See `hccflow.report.results.Results`.
    """
    results = Results(root, settings)
    return [section(results) for section in SECTIONS]


def render(sections: list[Section], settings: Mapping[str, Any]) -> str:
    """One HTML page without anything outside it: style, drawings and pictures are inside, and there is no script."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    environment.globals["marks"] = footnote_mark
    environment.filters["condense"] = condense
    environment.filters["breakable"] = breakable
    style = Markup((ASSETS / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return environment.get_template("report.html.j2").render(sections=sections, settings=settings, style=style)


def write_report(sections: list[Section], settings: Mapping[str, Any], out: Path) -> None:
    """Write the page, and beside it ``tables/<name>.tsv`` for every table of the page."""
    folder = out.parent / "tables"
    if folder.exists():
        shutil.rmtree(folder)
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Table):
            write_table(block.frame(), folder / f"{block.name}.tsv")
    write_text(out, render(sections, settings))
