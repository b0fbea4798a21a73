"""What a reader must keep in mind."""

from __future__ import annotations

from hccflow.metrics.samplesize import ENOUGH_EVENTS
from hccflow.report.page import Block, Callout, Points, Section
from hccflow.report.results import Results
from hccflow.report.sections.endpoints import blinding
from hccflow.report.sections.stacking import stacked
from hccflow.report.words import caption, missing, number, plural

#: Events per candidate predictor below which a model is called at risk of overfitting.
EVENTS_PER_CANDIDATE = 10


def build(results: Results) -> Section:
    """Section with the limits that the tables show, then those that the authors know."""
    limits = (_small_cohorts, _candidates, _stacked, _blinding, _empty_numbers, _failed)
    found = [line for lines in limits for line in lines(results)]
    known = list((results.settings.get("report") or {}).get("known_limits", []))
    blocks: list[Block] = [Points([*found, *known])] if found or known else []
    if not blocks:
        blocks.append(Callout("note", "None listed", caption("limits_none")))
    return Section("limitations", "Limitations", blocks)


def _small_cohorts(results: Results) -> list[str]:
    lines = []
    if not any(results.role(c) == "external" for c in results.cohorts):
        lines.append(caption("external_none"))
    for endpoint in results.endpoints("binary"):
        small = []
        for cohort in results.cohorts:
            rows = results.rows("auc", cohort=cohort, endpoint=endpoint, group="", comparator="").dropna(
                subset=["n", "n_events"]
            )
            if rows.empty:
                continue
            events, others = int(rows["n_events"].max()), int((rows["n"] - rows["n_events"]).max())
            if min(events, others) < ENOUGH_EVENTS:
                small.append(f"{results.cohort_name(cohort)} ({events} with, {others} without)")
        if small:
            lines.append(
                caption(
                    "limit_small",
                    endpoint=results.label("endpoints", endpoint),
                    cohorts="; ".join(small),
                    enough=ENOUGH_EVENTS,
                )
            )
    return lines


def _candidates(results: Results) -> list[str]:
    lines = []
    for model, spec in results.settings["models"].items():
        if spec["kind"] != "tabular":  # an image, other models' scores or other models are no candidate predictors
            continue
        selection = results.table(f"train/{model}/selection.tsv")
        freeze = results.document(f"train/{model}/freeze.json")
        if selection is None or freeze is None or selection.empty:
            continue
        candidates, training = len(selection), freeze["training"]
        events = min(training["n_events"], training["n"] - training["n_events"])
        if events / candidates < EVENTS_PER_CANDIDATE:
            words = {
                "model": results.label("models", model),
                "candidates": plural(candidates, "candidate predictor"),
                "events": events,
                "ratio": number(events / candidates, 1),
                "enough": EVENTS_PER_CANDIDATE,
            }
            lines.append(caption("limit_candidates", **words))
    return lines


def _blinding(results: Results) -> list[str]:
    """Labels whose readers knew the predictors, or of whom nobody says that they did not."""
    said = blinding(results)
    lines = []
    for key, answer in (("limit_blinded", False), ("limit_blinded_unknown", None)):
        if names := [results.label("endpoints", name) for name, value in said.items() if value is answer]:
            lines.append(caption(key, endpoints="; ".join(names)))
    return lines


def _stacked(results: Results) -> list[str]:
    names = ", ".join(results.label("models", model) for model in stacked(results))
    return [caption("limit_stacked", models=names)] if names else []


def _empty_numbers(results: Results) -> list[str]:
    table = results.metrics
    empty = table[table["value"].map(missing)] if len(table) else table
    return [caption("limit_empty", empty=plural(len(empty), "number"), all=f"{len(table):,}")] if len(empty) else []


def _failed(results: Results) -> list[str]:
    lost = 0
    for cohort in results.cohorts:
        manifest = results.table(f"enrol/{cohort}/manifest.tsv", "manifest")
        lost += int((manifest["status"] == "failed").sum()) if manifest is not None else 0
    return [caption("limit_failed", failed=plural(lost, "case"))] if lost else []
