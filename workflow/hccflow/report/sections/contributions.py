"""What moves the scores of a model of tables or a fusion in external cohorts, beside how stable its selection was?"""

from __future__ import annotations

import pandas as pd

from hccflow.figures.report import dots
from hccflow.ids import CohortRole
from hccflow.models.contributions import BASE
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Row, Section, Table, Text
from hccflow.report.results import Results
from hccflow.report.words import caption, number

#: Predictors shown of each model.
MOST = 10


def build(results: Results) -> Section:
    """Section on the contributions of predictors to scores."""
    blocks: list[Block] = []
    for model in results.models:
        blocks += _of_model(results, model)
    lead = (
        Text(caption("contributions_lead"))
        if blocks
        else Callout("absent", "No contributions", caption("contributions_none"))
    )
    return Section("contributions", "What the predictors contribute", [lead, *blocks], labels=["exploratory"])


def _of_model(results: Results, model: str) -> list[Block]:
    source = f"train/{model}/freeze.json"
    freeze = results.document(source) or {}
    if freeze.get("kind") == "network":  # a choice has the kind of what it chose
        return []
    means, sources = mean_parts(results, model)
    label = results.label("models", model)
    if means.empty:
        return [Callout("note", label, caption("contributions_nothing"))] if sources else []
    chosen = freeze.get("chosen", model)
    if chosen != model:
        label, sources = f"{label} ({results.label('models', chosen)})", [*sources, source]
    name = f"train/{chosen}/selection.tsv"  # a choice's own counts its candidates
    selection = results.table(name)
    taken = {} if selection is None else dict(zip(selection["feature"], selection["frequency"], strict=True))
    shown = means.head(MOST)
    cohorts = [results.cohort_name(str(cohort)) for cohort in means]
    shares = [f"{100 * taken[feature]:.0f}%" if feature in taken else DASH for feature in shown.index]
    rows = {str(feature): [None if pd.isna(v) else float(v) for v in values] for feature, *values in shown.itertuples()}
    said = (
        f"{feature} {', '.join(DASH if v is None else number(v) for v in values)} (in {share} of the folds)"
        for (feature, values), share in zip(rows.items(), shares, strict=True)
    )
    alt = f"Mean absolute contribution to the score of {label} in {', '.join(cohorts)}: " + "; ".join(said)
    words = {"model": label, "shown": len(shown), "all": len(means)}
    axis = "Mean absolute contribution (log-odds)"
    cells = [
        Row([Cell(feature), Cell(share), *(Cell(DASH if v is None else number(v, 3)) for v in values)])
        for (feature, values), share in zip(rows.items(), shares, strict=True)
    ]
    files, head = [*sources, name], ["Predictor", "Share of the folds", *cohorts]
    table = Table(f"contributions_{model}", caption("contributions_table", **words), head, cells, files, folded=True)
    if len(means) == 1:  # a picture of one predictor shows nothing that its number does not
        return [table]
    picture = dots(rows, [f"{share} of folds" for share in shares], cohorts, axis=axis, alt=alt)
    return [Figure(caption("contributions", **words), alt, files, svg=picture), table]


def mean_parts(results: Results, model: str) -> tuple[pd.DataFrame, list[str]]:
    """Mean absolute contribution by predictor and external cohort, the largest (over cohorts) first; and the files."""
    found, sources = {}, []
    for cohort in results.cohorts:
        source = f"validate/{cohort}/{model}.contributions.tsv"
        if results.role(cohort) != CohortRole.EXTERNAL or (table := results.table(source)) is None:
            continue
        sources.append(source)
        rows = table[table["contribution"].notna() & (table["feature"] != BASE)]
        if len(rows):
            found[cohort] = rows.assign(size=rows["contribution"].abs()).groupby("feature")["size"].mean()
    means = pd.DataFrame(found)
    order = means.mean(axis=1).round(12).rename("mean").rename_axis("feature").reset_index()
    order = order.sort_values(["mean", "feature"], ascending=[False, True], kind="stable")
    return means.loc[order["feature"]], sources
