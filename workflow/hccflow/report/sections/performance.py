"""Does it hold elsewhere? Discrimination, operating point, calibration and benefit of every model in every cohort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hccflow.figures.report import ForestRow, forest
from hccflow.ids import CLINICAL_COX
from hccflow.metrics.threshold import COUNTS
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Gallery, Row, Section, Table
from hccflow.report.results import FROZEN, OOF, WITHIN, Results, groups, records
from hccflow.report.sections.headline import forest_row, level
from hccflow.report.sections.images import is_wide, svg_uri
from hccflow.report.sections.pooled import pooled_blocks
from hccflow.report.sections.stacking import caution
from hccflow.report.sections.truth import best
from hccflow.report.words import NOT_COMPUTED, caption, count_cell, estimate, has_caption, missing

DISCRIMINATION = {
    "auc_within_folds": "AUC within folds",
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
}
CALIBRATION = {
    "brier": "Brier score",
    "brier_scaled": "Scaled Brier",
    "calibration_slope": "Slope",
    "calibration_in_the_large": "In the large",
    "ici": "ICI",
    "ece": "ECE",
}
#: Kinds of scores of a cohort that has both, in words.
KINDS = {OOF: "of it, scores out of fold", FROZEN: "of it, frozen scores of subjects who did not teach"}
#: The same in the name of a figure.
KIND_WORDS = {"kind-oof": "out-of-fold scores", "kind-frozen": "frozen scores of subjects who did not teach"}
INTERNAL = "internal validation (frozen)"
#: Figures of validate that are shown, in this order.
CURVES = ("roc", "decision", "pr", "calibration")


def build(results: Results) -> Section:
    """Section with a forest of AUCs, the table of measures and the curves of every cohort."""
    if results.rows("auc").empty:
        return Section("performance", "Performance", [Callout("absent", "No performance", caption("performance_none"))])
    blocks: list[Block] = []
    for endpoint in results.endpoints("binary"):
        if results.rows("auc", endpoint=endpoint).empty:
            continue
        blocks += [
            _forest(results, endpoint),
            _table(results, endpoint, "performance", DISCRIMINATION),
            _table(results, endpoint, "calibration", CALIBRATION),
        ]
    galleries = [figures for c in results.cohorts if (figures := stage_figures(results, "validate", c, CURVES))]
    blocks += [Gallery(figures) for figures in galleries]
    if not galleries:
        blocks.append(Callout("absent", "No curves", caption("curves_none")))
    blocks += [*pooled_blocks(results), *_readers(results), *_sites(results)]
    return Section("performance", "Performance by cohort", blocks, labels=["exploratory"])


def _models(results: Results, endpoint: str) -> list[str]:
    """Models of an endpoint in the order of the configuration, then others."""
    seen = [m for m in results.rows("auc", endpoint=endpoint)["model"].unique() if m]
    return [m for m in results.models if m in seen] + sorted(m for m in seen if m not in results.models)


def lines(results: Results, cohort: str, endpoint: str) -> dict[str, str]:
    """Groups of the metrics table by which a cohort is told, the one that stands for it first, each in words."""
    if not results.mixed(cohort, endpoint):
        return {"": ""}
    return {OOF: "", FROZEN: INTERNAL} if results.part(cohort, endpoint) else {"": "", **KINDS}


def heading(results: Results, cohort: str, endpoint: str) -> str:
    """Cohort, role and whose scores are meant."""
    words = results.role_word(cohort)
    if results.part(cohort, endpoint):
        words += ", out of fold"
    elif results.mixed(cohort, endpoint):
        words += ", out-of-fold and frozen scores together"
    return f"{results.cohort_name(cohort)} ({words})"


def _forest(results: Results, endpoint: str) -> Figure:
    rows: list[ForestRow] = []
    known = False
    for cohort in results.cohorts:
        rows.append(ForestRow(heading(results, cohort, endpoint), heading=True))
        for i, model in enumerate(_models(results, endpoint)):
            _, target = best(results, cohort, model, endpoint)
            known |= target is not None
            where = {"model": model, "cohort": cohort, "endpoint": endpoint}
            rows.append(forest_row(results.label("models", model), results.judged("auc", **where), i, target=target))
            if results.part(cohort, endpoint):
                found = results.one("auc", group=FROZEN, **where)
                rows.append(forest_row(f"    {INTERNAL}", found, i, target=target))
    label = results.label("endpoints", endpoint)
    alt = forest_alt(f"AUC for {label}", rows)
    head = ("Cohort and model", f"AUC ({level(results)} CI)")
    svg = forest(rows, axis="AUC (dashed: guessing)", reference=0.5, head=head, alt=alt)
    text = caption("performance_forest", endpoint=label, level=level(results))
    full = f"{text} {caption('performance_bayes')}" if known else text
    return Figure(full, alt, ["validate/*/metrics.tsv"], svg=svg)


def forest_alt(title: str, rows: list[ForestRow]) -> str:
    """Text alternative of a forest: every row in words."""
    return f"{title}: " + "; ".join(row.label + (f" {row.text}" if row.text else ":") for row in rows)


def _table(results: Results, endpoint: str, name: str, measures: Mapping[str, str]) -> Table:
    """Table of measures, and below a model the same measures after recalibration where validate made them."""
    if results.rows("auc_within_folds", endpoint=endpoint).empty:
        measures = {metric: word for metric, word in measures.items() if metric != "auc_within_folds"}
    rows, counted = [], "sensitivity" in measures
    for cohort in results.cohorts:
        rows.append(Row([Cell(heading(results, cohort, endpoint))], heading=True))
        for model in _models(results, endpoint):
            where = {"model": model, "cohort": cohort, "endpoint": endpoint}
            for group, words in lines(results, cohort, endpoint).items():
                own = {**where, "group": group}
                cells = [
                    estimate(
                        results.one(metric, **own), absent="no scores of several folds" if inside else NOT_COMPUTED
                    )
                    for metric, inside in zip(measures, (m.endswith(WITHIN) for m in measures), strict=True)
                ]
                cells += [_counts(results, own)] * counted
                who = Cell(words) if words else Cell(results.label("models", model), caution(results, cohort, model))
                rows.append(Row([who, count_cell(results.one("auc", **own)), *cells], indent=bool(words)))
            again = {metric: results.one(metric, group="recalibrated", **where) for metric in measures}
            if any(row is not None and not missing(row["value"]) for row in again.values()):
                cells = [
                    estimate(row, absent="not changed by, or not made after, recalibration") for row in again.values()
                ]
                cells += [Cell("")] * counted
                rows.append(Row([Cell("recalibrated here"), Cell(""), *cells], indent=True))
    text = caption(name, endpoint=results.label("endpoints", endpoint), level=level(results))
    columns = ["Model", "n / events", *measures.values(), *["TP / FP / FN / TN"] * counted]
    return Table(f"{name}_{endpoint}", text, columns, rows, ["validate/*/metrics.tsv"])


def _counts(results: Results, where: Mapping[str, str]) -> Cell:
    """The two-by-two table at the operating point in one cell."""
    found = [results.one(name, **where) for name in COUNTS]
    cells = [estimate(row, 0) for row in found]
    return next((cell for cell in cells if cell.note), Cell(" / ".join(cell.text for cell in cells)))


def _readers(results: Results) -> list[Block]:
    """AUC under each reader's own labels."""
    table = results.rows("auc", comparator="")
    table = table[table["group"].str.startswith("reader=")]
    if table.empty:
        return []
    readers = sorted(table["group"].unique())
    rows = []
    for (cohort, endpoint), part in groups(table, ["cohort", "endpoint"]):
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {results.label('endpoints', endpoint)}")], heading=True))
        for (model,), lines in groups(part, ["model"]):
            found = {record["group"]: record for record in records(lines)}
            rows.append(Row([Cell(results.label("models", model)), *(estimate(found.get(r)) for r in readers)]))
    columns = ["Model", *(f"Reader {r.removeprefix('reader=')}" for r in readers)]
    text = caption("readers", level=level(results))
    return [Table("readers", text, columns, rows, sorted(table["source"].unique()), folded=True)]


def _sites(results: Results) -> list[Block]:
    """AUC pooled over the sites of a cohort, with its heterogeneity."""
    table = results.rows("auc_pooled")
    if table.empty:
        return []
    rows = []
    for record in records(table):
        where = {key: record[key] for key in ("model", "cohort", "endpoint", "group")}
        i2 = results.one("auc_heterogeneity", **where)
        share = (
            Cell("")
            if i2 is None
            else estimate({**i2, "value": None if missing(i2["value"]) else 100 * i2["value"]}, 0)
        )
        name = f"{results.cohort_name(record['cohort'])}: {results.label('models', record['model'])}"
        rows.append(
            Row(
                [
                    Cell(name),
                    Cell(record["group"]),
                    estimate(record),
                    estimate(results.one("auc_prediction", **where)),
                    share,
                    _told_site(results, record),
                ]
            )
        )
    columns = [
        "Cohort and model",
        "Over",
        f"Pooled AUC ({level(results)} CI)",
        "Prediction interval",
        "I², %",
        "Score tells a site, AUC",
    ]
    text = caption("sites")
    return [Table("sites", text, columns, rows, sorted(table["source"].unique()), text_columns=("Over",), folded=True)]


def _told_site(results: Results, record: Mapping[str, Any]) -> Cell:
    """AUC with which the score tells the site that it tells best, or worst, beyond the outcome."""
    where = {key: record[key] for key in ("model", "cohort", "endpoint")}
    rows = results.rows("site_auc", **where).dropna(subset=["value"])
    if rows.empty:
        reasons = results.rows("site_auc", **where)["reason"].dropna()
        return Cell(DASH, str(reasons.iloc[0]) if len(reasons) else "not computed in this run")
    most = records(rows.loc[[(rows["value"] - 0.5).abs().idxmax()]])[0]
    cell = estimate(most)
    return Cell(f"{most['group'].removeprefix('site=')}: {cell.text}", cell.note)


def stage_figures(results: Results, stage: str, cohort: str, kinds: tuple[str, ...]) -> list[Figure]:
    """Figures of these kinds that a stage drew for a cohort, in this order, each with its caption."""
    figures = []
    for kind in kinds:
        for name in results.find(f"{stage}/{cohort}/figures/{kind}*.svg"):
            rest = name.rsplit("/", 1)[-1].removesuffix(".svg")[len(kind) :]
            path = results.path(name)
            if path is None or (rest and not rest.startswith("_")) or not has_caption(f"figure_{kind}"):
                continue
            detail = _detail(results, rest.replace(f"_{cohort}", ""))
            text = f"{results.cohort_name(cohort)}{detail}: {caption(f'figure_{kind}')}"
            curves = results.find(f"{stage}/{cohort}/curves/{kind}*.tsv")
            figures.append(Figure(text, text, [name, *curves[:1]], uri=svg_uri(path), wide=is_wide(path)))
    return figures


def _detail(results: Results, rest: str) -> str:
    """Rest of a figure's name in words: endpoints and models by their labels, the longest names first."""
    names = []
    known = dict.fromkeys([*results.models, CLINICAL_COX], "models")
    known |= dict.fromkeys(results.settings["endpoints"], "endpoints")
    known |= dict.fromkeys(KIND_WORDS, "kinds")
    parts = [part for part in rest.split("_") if part]
    while parts:
        length = next((k for k in range(len(parts), 0, -1) if "_".join(parts[:k]) in known), 1)
        word = "_".join(parts[:length])
        names.append(KIND_WORDS.get(word) or (results.label(known[word], word) if word in known else word))
        parts = parts[length:]
    return f", {', '.join(names)}" if names else ""
