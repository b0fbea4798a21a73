"""Is this the right series, and is its geometry true? Pictures of converted cases, and what conversion lost."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pandas as pd

from hccflow.ids import Status
from hccflow.paths import batch_folder, case_file
from hccflow.report.page import Block, Callout, Cell, Figure, Gallery, Row, Section, Table, Text
from hccflow.report.results import Results
from hccflow.report.words import caption, missing, percent, plural

#: Pictures shown per cohort, and the largest width of one in pixels: keeps the page under a few megabytes.
PER_COHORT, MAX_WIDTH = 3, 720
#: Width in mm (a journal's column has 85) beyond which a figure gets a row of its own: smaller, its text is not read.
WIDE = 100


def build(results: Results) -> Section:
    """Section with QC pictures and the outcome of conversion."""
    manifests = {c: results.table(f"convert/{c}/manifest.tsv", "manifest") for c in results.cohorts}
    known = {c: t for c, t in manifests.items() if t is not None}
    if not known:
        return Section("images", "Images", [Callout("absent", "No images", caption("images_none"))])
    blocks: list[Block] = [_outcome(results, known)]
    for cohort, table in known.items():
        chosen = choose(table)
        figures = [f for _, row in chosen.iterrows() if (f := _picture(results, cohort, row)) is not None]
        shown = plural(len(figures), "converted case")
        blocks.append(Text(caption("images_cohort", cohort=results.cohort_name(cohort), shown=shown)))
        if figures:
            blocks.append(Gallery(figures))
        else:
            blocks.append(Callout("absent", "No pictures", caption("images_no_pictures")))
    return Section("images", "Images", blocks)


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """Choose converted cases to show: half that conversion remarked on, then ordinary ones, by identifier."""
    ok = table[table["status"] == Status.OK.value].sort_values(["subject", "session"], kind="stable")
    remarked = _words(ok["notes"]).ne("") if "notes" in ok.columns else pd.Series(False, index=ok.index)
    first = ok[remarked].head(PER_COHORT // 2)
    rest = pd.concat([ok[~remarked], ok[remarked].iloc[len(first) :]]).head(PER_COHORT - len(first))
    return pd.concat([first, rest])


def _picture(results: Results, cohort: str, row: pd.Series) -> Figure | None:
    name = case_file(row["subject"], row["session"], "image", desc="qc", ext=".png")
    found = results.find(f"convert/{cohort}/{batch_folder('00')[:-2]}*/{name}")
    if not found:
        return None
    path = results.path(found[0])
    note = "" if missing(row.get("notes")) else str(row["notes"])
    who = row["subject"] + (f", {row['session']}" if row["session"] else "")
    alt = f"Slices of {who} of {results.cohort_name(cohort)} with outlines of the masks"
    return (
        Figure(f"{who}. {note}" if note else who, alt, [found[0]], uri=picture_uri(path), wide=False) if path else None
    )


def picture_uri(path: Path) -> str:
    """Data URI of a picture, no wider than `MAX_WIDTH` pixels."""
    from PIL import Image

    with Image.open(path) as image:
        if image.width <= MAX_WIDTH:
            data = path.read_bytes()
        else:
            buffer = io.BytesIO()
            height = round(image.height * MAX_WIDTH / image.width)
            image.convert("RGB").resize((MAX_WIDTH, height), Image.Resampling.LANCZOS).save(buffer, "PNG")
            data = buffer.getvalue()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def svg_uri(path: Path) -> str:
    """Data URI of a figure: as an image it cannot run scripts, and its identifiers cannot clash with the page's."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def is_wide(path: Path) -> bool:
    """Whether an SVG figure is drawn for more than one column and needs a row of its own."""
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', path.read_text(encoding="utf-8")[:2000])
    return width is not None and float(width[1]) * 25.4 / 72 > WIDE


def _words(cells: pd.Series) -> pd.Series:
    """Text of cells; a column that is empty throughout has been read as numbers."""
    return cells.map(lambda value: "" if missing(value) else str(value))


def _outcome(results: Results, manifests: dict[str, pd.DataFrame]) -> Table:
    imaging = results.settings.get("imaging") or {}
    names = [*imaging.get("channels", []), *imaging.get("masks", [])]
    rows = []
    for cohort, table in manifests.items():
        ok = table[table["status"] == Status.OK.value]
        cells = [
            Cell(results.cohort_name(cohort)),
            Cell(f"{len(table)}"),
            Cell(percent(len(ok), len(table)), strong=True),
        ]
        have = pd.Series("", index=ok.index)
        for column in ("channels", "masks"):
            if column in ok.columns:
                have = have + "," + _words(ok[column])
        sets = [set(text.split(",")) for text in have]
        cells += [Cell(f"{sum(name in one for one in sets)}") for name in names]
        remarked = int(_words(ok["notes"]).ne("").sum()) if "notes" in ok.columns else 0
        rows.append(Row([*cells, Cell(f"{remarked}"), Cell(f"{int((table['status'] == Status.FAILED.value).sum())}")]))
        failed = table[table["status"] == Status.FAILED.value]
        rows += [Row([Cell(f"failed: {r['subject']}: {r['reason']}")], indent=True) for _, r in failed.iterrows()]
    return Table(
        "conversion",
        caption("conversion"),
        ["Cohort", "Cases", "Converted", *names, "With remarks", "Failed"],
        rows,
        ["convert/*/manifest.tsv"],
    )
