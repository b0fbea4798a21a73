"""Where was the tumour, how sure were the networks, and does it change the answer?"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hccflow.ids import ScoreKind, Status
from hccflow.paths import case_file
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Gallery, Row, Section, Table, Text
from hccflow.report.results import Results, records
from hccflow.report.sections.twins import comparison, twins
from hccflow.report.words import caption, hardware, missing, number, plural

KINDS = {"oof": "out of fold", "frozen": "frozen", "imported": "imported"}
SIDES = {"nnunet": "first", "reference": "second"}


def build(results: Results) -> Section:
    """Section with the agreement of masks, the worst ones, and the results under either kind of mask."""
    spec = results.settings.get("segment") or {}
    tables = {c: results.table(f"segment/{c}/manifest.tsv", "segment") for c in results.cohorts}
    known = {c: table for c, table in tables.items() if table is not None}
    if not spec or not known:
        return Section("segment", "Segmentation", [Callout("absent", "No predicted masks", caption("segment_none"))])
    blocks: list[Block] = [*_demands(results, spec, known), _agreement(results, spec, known), *_trained(results, known)]
    target = spec["labels"][-1]
    blocks += [*_lesions(results, target, known), *_volumes(results, target, known)]
    for cohort, table in known.items():
        figures = [f for name, row in extremes(table, target) if (f := _overlay(results, cohort, target, name, row))]
        if figures:
            blocks += [Text(caption("segment_overlays", cohort=results.cohort_name(cohort), label=target))]
            blocks.append(Gallery(figures))
    pairs = twins(results, lambda model: _but_roi(results, model), lambda model: SIDES.get(_source(results, model), ""))
    if pairs:
        blocks.append(comparison(results, "segment_models", pairs, "nnU-Net masks", "Reference masks"))
    blocks.append(_failures(results, spec["labels"], known))
    return Section("segment", "Segmentation", blocks)


def extremes(table: pd.DataFrame, label: str) -> list[tuple[str, dict[str, Any]]]:
    """Worst, median and best case by Dice, equal ones by identifier; fewer where there are fewer cases."""
    measured = table[table[f"dice_{label}"].notna()].sort_values([f"dice_{label}", "subject", "session"], kind="stable")
    places = {"worst": 0, "median": (len(measured) - 1) // 2, "best": len(measured) - 1}
    rows = records(measured)
    found: dict[int, str] = {}
    for name, place in places.items():
        if rows:
            found.setdefault(place, name)
    return [(name, rows[place]) for place, name in found.items()]


def _demands(results: Results, spec: Mapping[str, Any], known: Mapping[str, pd.DataFrame]) -> list[Block]:
    """Whether the out-of-fold masks of every cohort reach what the study demands, label by label."""
    blocks: list[Block] = []
    for label, wanted in spec.get("require_dice", {}).items():
        found, met = [], True
        for cohort, table in known.items():
            own = table[table["kind"] == ScoreKind.OOF.value]
            values, empty = own[f"dice_{label}"].dropna(), int((own[f"volume_{label}_ml"] == 0).sum())
            if len(values):
                met = met and values.median() >= wanted and not empty
                median = number(float(values.median()), 3)
                found.append(f"{median} in {results.cohort_name(cohort)} (n = {len(values)}, {empty} empty)")
        met = met and bool(found)
        text = caption("segment_demand", label=label, wanted=wanted, reached="; ".join(found) or "there is none")
        blocks.append(Callout("note" if met else "warning", "Demand met" if met else "Demand not met", text))
    return blocks


def _agreement(results: Results, spec: Mapping[str, Any], known: Mapping[str, pd.DataFrame]) -> Table:
    rows, labels, tolerance = [], spec["labels"], f"{spec['surface_tolerance_mm']:g}"
    for cohort, table in known.items():
        rows.append(Row([Cell(f"{results.cohort_name(cohort)} ({results.role_word(cohort)})")], heading=True))
        usable = table[table["status"] == Status.OK.value]
        for kind, word in KINDS.items():
            part = usable[usable["kind"] == kind]
            for label in labels if len(part) else ():
                dice, far = part[f"dice_{label}"].dropna(), part[f"hd95_{label}_mm"].dropna()
                near = part[f"surface_dice_{label}"].dropna()
                truth, volume = part[f"reference_volume_{label}_ml"], part[f"volume_{label}_ml"]
                error = (100 * (volume - truth) / truth)[truth > 0]
                cells = [
                    Cell(label, strong=label == labels[-1]), Cell(word), Cell(f"{len(part)}"),
                    quartiles(dice, 3, len(part)), Cell(number(dice.min(), 3) if len(dice) else DASH),
                    quartiles(far, 1, len(part)), Cell(number(near.median(), 3) if len(near) else DASH),
                    Cell(number(error.median(), 1) if len(error) else DASH),
                    Cell(f"{int((volume == 0).sum())}"),
                ]  # fmt: skip
                rows.append(Row(cells))
        failed = int((table["status"] != Status.OK.value).sum())
        if failed:
            rows.append(Row([Cell(f"{plural(failed, 'case')} without masks, with reasons below")], indent=True))
    columns = [
        "Label", "Networks", "n", "Dice, median [quartiles]", "Smallest Dice", "HD95 in mm, median [quartiles]",
        f"Surface Dice at {tolerance} mm, median", "Volume error in %, median", "Empty",
    ]  # fmt: skip
    sources = [f"segment/{cohort}/manifest.tsv" for cohort in known]
    return Table(
        "segmentation", caption("segmentation", tolerance=tolerance), columns, rows, sources, text_columns=("Networks",)
    )


def _trained(results: Results, known: Mapping[str, pd.DataFrame]) -> list[Block]:
    """On what nnU-Net was trained; nothing where every mask is imported."""
    own = [ScoreKind.OOF.value, ScoreKind.FROZEN.value]
    if not any(table["kind"].isin(own).any() for table in known.values()):
        return []
    return [Text(caption("segment_trained", devices=hardware(results.document("segment/freeze.json") or {})))]


def _lesions(results: Results, label: str, known: Mapping[str, pd.DataFrame]) -> list[Block]:
    """Detection by lesion, pooled over the cases of a cohort that have a reference mask; nothing where none has."""
    rows = []
    for cohort, table in known.items():
        for kind, word in KINDS.items():
            part = table[(table["kind"] == kind) & table[f"n_lesions_{label}"].notna()]
            lesions, found, false = (int(part[f"{what}_{label}"].sum()) for what in ("n_lesions", "n_found", "n_false"))
            if len(part):
                sensitivity = number(found / lesions, 3) if lesions else DASH
                counts = [
                    f"{len(part)}",
                    f"{lesions}",
                    f"{found}",
                    sensitivity,
                    f"{false}",
                    number(false / len(part), 2),
                ]
                rows.append(Row([Cell(results.cohort_name(cohort)), Cell(word), *map(Cell, counts)]))
    columns = ["Cohort", "Networks", "Cases", "Lesions", "Found", "Sensitivity", "False", "False per case"]
    sources = [f"segment/{cohort}/manifest.tsv" for cohort in known]
    text = caption("segment_lesions", label=label)
    return [Table("segment_lesions", text, columns, rows, sources, text_columns=("Networks",))] if rows else []


def quartiles(values: pd.Series, digits: int, cases: int) -> Cell:
    """Median with quartiles; a footnote says when some cases have no value."""
    if values.empty:
        return Cell(DASH, "no case has both masks")
    q1, median, q3 = (number(float(v), digits) for v in np.percentile(values, [25, 50, 75]))
    note = "" if len(values) == cases else f"of the {len(values)} of {cases} cases in which both masks are there"
    return Cell(f"{median} [{q1} to {q3}]", note)


def _volumes(results: Results, label: str, known: Mapping[str, pd.DataFrame]) -> list[Block]:
    from hccflow.figures.plane import against

    series, size = [], 0
    for cohort, table in known.items():
        part = table[["reference_volume_" + label + "_ml", "volume_" + label + "_ml"]].dropna()
        part = part[part.iloc[:, 0] > 0]
        size += len(part)
        series.append((results.cohort_name(cohort), [(float(a), float(b)) for a, b in part.to_numpy()]))
    if not size:
        return []
    alt = f"Predicted against reference volume of {label} in {plural(size, 'case')}"
    svg = against(series, f"Reference volume of {label}, ml", f"Predicted volume of {label}, ml", alt=alt)
    text = caption("segment_volumes", label=label, n=plural(size, "case"))
    return [Figure(text, alt, [f"segment/{cohort}/manifest.tsv" for cohort in known], svg=svg)]


def _overlay(results: Results, cohort: str, label: str, name: str, row: Mapping[str, Any]) -> Figure | None:
    """Both outlines of one case; None when the images are no longer there."""
    from hccflow.figures.segment import outlines
    from hccflow.images import read_image

    subject, session = row["subject"], row["session"] or ""
    wanted = {
        "image": ("convert", case_file(subject, session, results.settings["imaging"]["reference"])),
        "reference": ("convert", case_file(subject, session, "mask", desc=label)),
        "predicted": ("segment", case_file(subject, session, "mask", desc=label)),
    }
    found = {key: results.find(f"{stage}/{cohort}/batch-*/{path}") for key, (stage, path) in wanted.items()}
    paths = {key: path for key, names in found.items() if names and (path := results.path(names[0])) is not None}
    if "image" not in paths or "reference" not in paths:
        return None
    images = {key: read_image(path) for key, path in paths.items()}
    picture = outlines(images["image"], images["reference"], images.get("predicted"))
    dice, far = number(row[f"dice_{label}"], 3), row[f"hd95_{label}_mm"]
    distance = "HD95 undefined: the predicted mask is empty" if missing(far) else f"HD95 {number(far, 1)} mm"
    who = f"{subject}, {session}" if session else subject
    text = f"{name.capitalize()}: {who}. Dice {dice}, {distance} ({KINDS[row['kind']]})."
    uri = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    alt = f"Slice of {who} with the outlines of the reference and the predicted {label}"
    return Figure(text, alt, [(found["predicted"] or found["reference"])[0]], uri=uri, wide=False)


def _source(results: Results, model: Mapping[str, Any]) -> str:
    """Source of the region that a model uses; empty when it uses none."""
    return results.settings["extract"]["rois"][model["roi"]]["source"] if model.get("roi") else ""


def _but_roi(results: Results, model: Mapping[str, Any]) -> dict[str, Any] | None:
    """What makes a model besides its region's source; None for a model without a region."""
    if not model.get("roi"):
        return None
    roi = results.settings["extract"]["rois"][model["roi"]]
    region = {k: v for k, v in roi.items() if k not in ("source", "min_voxels")}
    stable = model["select"].get("stable")
    select = dict(model["select"])
    if stable:  # of two models that judge each by the other's region this is the same
        select["stable"] = {**stable, "rois": sorted({model["roi"], *stable["rois"]})}
    return {**{k: v for k, v in model.items() if k not in ("label", "roi")}, "select": select, "region": region}


def _failures(results: Results, labels: Sequence[str], known: Mapping[str, pd.DataFrame]) -> Block:
    """Every case without masks, every empty mask, and every converted case that did not teach, with the reasons."""
    rows = []
    for cohort, table in known.items():
        for row in records(table):
            empty = [label for label in labels if row[f"volume_{label}_ml"] == 0]
            if row["status"] != Status.OK.value:
                rows.append((cohort, row, "no masks", row["reason"]))
            elif empty:
                rows.append((cohort, row, f"empty: {', '.join(empty)}", row["notes"]))
    cases = results.table("segment/model/cases.tsv")
    for row in records(cases) if cases is not None else []:
        if row["status"] != Status.OK.value:
            rows.append((row["cohort"], row, "did not teach", row["reason"]))
    if not rows:
        return Callout("note", "Nothing failed", caption("segment_complete"))
    cells = [
        Row([
            Cell(f"{row['subject']}, {row['session']}" if row["session"] else str(row["subject"])),
            Cell(results.cohort_name(cohort)), Cell(what), Cell("" if missing(why) else str(why)),
        ])
        for cohort, row, what, why in rows
    ]  # fmt: skip
    text = caption("segment_failures", rows=plural(len(rows), "row"))
    sources = [*(f"segment/{cohort}/manifest.tsv" for cohort in known), "segment/model/cases.tsv"]
    columns = ["Case", "Cohort", "What", "Reason"]
    return Table("segment_failures", text, columns, cells, sources, text_columns=columns, folded=True)
