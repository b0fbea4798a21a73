"""A phantom knows the answer: the best that anyone could reach, beside what was reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hccflow.report.page import DASH, Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.sections.headline import level
from hccflow.report.words import caption, estimate, missing, number

#: The kinds of information of truth.json, as a reader sees them.
INFORMATION = {"size": "tumour size", "clinical": "clinical variables", "imaging": "imaging", "all": "everything"}


def information_of(
    model: str, models: Mapping[str, Any], truth: Mapping[str, Any], sweeps: Mapping[str, Any] | None = None
) -> str:
    """Kind of information that a model may use, empty where the truth states no best value for just that.

    A model with less information than a kind has an optimum of its own, below the kind's: beside another's optimum it
    would look worse than it is. So nothing is stated unless the variables are the same.
    """
    known = _variables(model, models, truth, sweeps or {})
    return next((kind for kind, names in truth["information"].items() if set(names) == known), "")


def _variables(model: str, models: Mapping[str, Any], truth: Mapping[str, Any], sweeps: Mapping[str, Any]) -> set[str]:
    """Variables of the generator that a model may see; none where its features are only some of those of an image."""
    spec = models[model]
    if spec.get("inputs"):
        return set().union(*(_variables(name, models, truth, sweeps) for name in spec["inputs"]))
    if spec.get("choose"):  # what the base of its sweep may see: variants see no more
        return _variables(sweeps[spec["choose"]["among"]]["of"], models, truth, sweeps)
    if spec.get("roi") and list(spec.get("features") or ["*"]) != ["*"]:
        return set()
    used = {truth["columns"][name] for name in spec.get("columns", ()) if name in truth["columns"]}
    return used | set(truth["information"]["imaging"] if spec.get("roi") or spec.get("network") else ())


def sessions(results: Results, cohort: str, endpoint: str) -> list[str]:
    """Sessions of a cohort whose truth is stated one by one, in their order."""
    return list(_truth(results, cohort).get(endpoint, {}).get("auc_by_session", {}))


def best(results: Results, cohort: str, model: str, endpoint: str, session: str = "") -> tuple[str, float | None]:
    """Kind of information that a model may use, and the best AUC or C-index that it allows; None where nobody knows.

    Where the truth goes by session, no best is known of a mean over sessions, only that of a session. The general truth
    is that of the first.
    """
    truth = _truth(results, cohort)
    models = results.settings["models"]
    if not truth or model not in models:
        return "", None
    information = information_of(model, models, truth, results.settings.get("experiment") or {})
    measure = "c_index" if endpoint in results.endpoints("survival") else "auc"
    about = truth.get(endpoint) or {}
    stated = about.get(measure) or {}
    if times := sessions(results, cohort, endpoint):
        stated = stated if session == times[0] else about["auc_by_session"].get(session, {})
    entry = stated.get(information)
    return information, None if entry is None else float(entry["value"])


def _truth(results: Results, cohort: str) -> Mapping[str, Any]:
    return (results.settings.get("truth") or {}).get(cohort) or {}


def build(results: Results) -> Section:
    """Section with the Bayes-optimal AUC and C-index beside what each model reached."""
    if not any((results.settings.get("truth") or {}).values()):
        return Section("truth", "Known truth", [Callout("absent", "No known truth", caption("truth_none"))])
    rows: list[Row] = []
    several = False
    measures = [(e, "auc", "AUC") for e in results.endpoints("binary")]
    measures += [(e, "c_harrell", "Harrell's C") for e in results.endpoints("survival")]
    for cohort in results.cohorts:
        for endpoint, metric, word in measures:
            times = sessions(results, cohort, endpoint)
            several |= bool(times)
            found = [
                row for model in results.models for session in times or [""]
                if (row := _row(results, cohort, model, endpoint, metric, session))
            ]  # fmt: skip
            if found:
                name = f"{results.cohort_name(cohort)}: {word}, {results.label('endpoints', endpoint)}"
                rows += [Row([Cell(name)], heading=True), *found]
    columns = ["Model", "May use", "Best possible", f"Reached ({level(results)} CI)", "Share of the way from 0.5"]
    sources = ["validate/*/metrics.tsv", "survive/*/metrics.tsv", "truth.json of each cohort"]
    words = caption("truth") + (" " + caption("truth_sessions") if several else "")
    blocks: list[Block] = [Table("truth", words, columns, rows, sources, text_columns=("May use",))]
    return Section("truth", "Known truth", blocks, labels=["exploratory"])


def _row(results: Results, cohort: str, model: str, endpoint: str, metric: str, session: str) -> Row | None:
    information, top = best(results, cohort, model, endpoint, session)
    where = {"model": model, "cohort": cohort, "endpoint": endpoint}
    found = results.one(metric, group=f"session={session}" if session else "", **where)
    if not session:
        found = results.judged(metric, **where)
    own = results.settings["models"][model]["endpoint"]
    if top is None or (found is None and endpoint != own):
        return None
    kind = INFORMATION.get(information, information)
    name = results.label("models", model) + (f", session {session}" if session else "")
    return Row([Cell(name), Cell(kind), Cell(number(top)), estimate(found), share(found, top)])


def share(row: Mapping[str, Any] | None, top: float) -> Cell:
    """Cell of the share of the way from 0.5 to the best possible value, in percent."""
    if row is None or missing(row["value"]):
        return Cell(DASH, estimate(row).note)
    if top <= 0.5:
        return Cell(DASH, "nothing can be reached: the best possible value is 0.5")
    if row["value"] < 0.5:
        return Cell(DASH, "below 0.5: in this cohort the ranking is worse than guessing")
    return Cell(number(100 * (float(row["value"]) - 0.5) / (top - 0.5), 0) + "%", strong=True)
