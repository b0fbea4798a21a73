"""How stable is what was selected?"""

from __future__ import annotations

from hccflow.figures.report import Bar, bars
from hccflow.report.page import Block, Callout, Cell, Figure, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.words import caption, number

#: Bars of the figure.
MOST = 20


def build(results: Results) -> Section:
    """Section on how often each feature was selected."""
    blocks: list[Block] = []
    for model in results.models:
        name = f"train/{model}/selection.tsv"
        table = results.table(name)
        if table is None or table.empty or not results.settings["models"][model].get("select"):
            continue
        order = table.sort_values(
            ["frequency", "in_final_model", "feature"], ascending=[False, False, True], kind="stable"
        )
        top = order[order["frequency"] > 0].head(MOST)
        label = results.label("models", model)
        if top.empty:
            blocks.append(Callout("note", label, caption("selection_nothing")))
            continue
        rows = [
            Bar(str(r["feature"]), float(r["frequency"]), f"{100 * r['frequency']:.0f}%", bool(r["in_final_model"]))
            for _, r in top.iterrows()
        ]
        alt = f"Share of the folds in which {label} selected each feature: " + "; ".join(
            f"{r.label} {r.text}" for r in rows
        )
        words = {"model": label, "shown": len(top), "ever": int((table["frequency"] > 0).sum()), "all": len(table)}
        blocks.append(
            Figure(caption("selection", **words), alt, [name], svg=bars(rows, axis="Share of the folds", alt=alt))
        )
        blocks.append(
            Table(
                f"selection_{model}",
                caption("selection_table", model=label),
                ["Feature", "Share of the folds", "In the final model"],
                [
                    Row(
                        [
                            Cell(str(r["feature"])),
                            Cell(number(r["frequency"])),
                            Cell("yes" if r["in_final_model"] else "no"),
                        ]
                    )
                    for _, r in order[order["frequency"] > 0].iterrows()
                ],
                [name],
                folded=True,
            )
        )
    if not blocks:
        blocks = [Callout("absent", "No selection", caption("selection_none"))]
    return Section("selection", "Stability of the selection", blocks)
