"""The answer first: the one prespecified comparison in plain words, and how far it can be believed."""

from __future__ import annotations

from typing import Any

from hccflow.figures.report import ForestRow, forest
from hccflow.ledger import primary_words
from hccflow.metrics.samplesize import ENOUGH_EVENTS, TARGET_WIDTH
from hccflow.report.page import Block, Callout, Facts, Figure, Section, Text
from hccflow.report.results import OOF, WITHIN, Results
from hccflow.report.words import caption, estimate, interval, missing, number, p_value, plural

#: First word of the stamp that validate puts on a width.
UNDERPOWERED = "underpowered"
METRIC_WORDS = {"auc": "AUC", "c_harrell": "Harrell's C"}
DIFFERENCE = {"auc": "auc_difference", "c_harrell": "c_difference"}


def build(results: Results) -> Section:
    """Section with the study's summary, the primary result and its stamp."""
    primary = results.settings["primary"]
    blocks: list[Block] = []
    if results.settings.get("summary"):
        blocks.append(Text(results.settings["summary"], lead=True))
    own, other = _performance(results, primary["model"]), None
    gap = None
    if primary.get("comparator"):
        other, gap = _performance(results, primary["comparator"]), difference(results)
    sources = sorted({row["source"] for row in (own, other, gap) if row is not None})
    blocks.append(Callout("result", "Primary result", _sentence(results, own, other, gap)))
    changed = changed_after_a_look(results)
    if changed:
        blocks.append(Callout("warning", "Not the comparison of the first look", changed))
    weak = underpowered(results, own)
    if weak:
        blocks.append(Callout("warning", "Underpowered", weak))
    blocks.append(_facts(results))
    if own is not None and not missing(own["value"]):
        blocks.append(_figure(results, own, other, gap, sources))
    if not changed:
        blocks.append(Text(caption("headline_exploratory")))
    labels = ["exploratory" if changed else "prespecified", *([UNDERPOWERED] if weak else [])]
    return Section("headline", "The result", blocks, labels)


def changed_after_a_look(results: Results) -> str:
    """Say that the primary comparison is not the one under which its cohort was first judged; empty where it is.

    A development cohort is judged by no look: its comparison is changed when it is not that of the first look anywhere.
    """
    primary = results.settings["primary"]
    own = [primary["cohort"]]
    for cohort in results.cohorts if primary["cohort"] in results.development else own:
        looks = results.table(f"validate/{cohort}/primary.tsv")
        if looks is not None and len(looks) and looks["primary"].iloc[0] != primary_words(primary):
            return caption("primary_changed", cohort=results.cohort_name(cohort), first=looks["primary"].iloc[0])
    return ""


def _performance(results: Results, model: str) -> dict[str, Any] | None:
    p = results.settings["primary"]
    find = results.judged if p["metric"] == "auc" else results.one
    return find(p["metric"], model=model, cohort=p["cohort"], endpoint=p["endpoint"])


def difference(results: Results) -> dict[str, Any] | None:
    """Row of the primary comparison as model minus comparator, turned round when it was written the other way."""
    p = results.settings["primary"]
    where = {"cohort": p["cohort"], "endpoint": p["endpoint"]}
    find = results.judged if p["metric"] == "auc" else results.gap
    return find(DIFFERENCE[p["metric"]], model=p["model"], comparator=p["comparator"], **where)


def measured(row: dict[str, Any] | None, metric: str) -> str:
    """Word of the primary metric, saying when it is within folds."""
    inside = row is not None and row["metric"].endswith(WITHIN)
    return METRIC_WORDS[metric] + (" within folds" if inside else "")


def cohort_words(results: Results, row: dict[str, Any] | None) -> str:
    """Name of the primary cohort, and of the part of it that a row is about."""
    name = results.cohort_name(results.settings["primary"]["cohort"])
    if row is None or not results.mixed(row["cohort"], row["endpoint"]):
        return name
    return (
        f"the out-of-fold part of {name}" if row["group"] == OOF else f"{name}, out-of-fold and frozen scores together"
    )


def confidence(results: Results) -> float:
    """Level of all intervals."""
    return float(results.settings.get("validate", {}).get("confidence", 0.95))


def level(results: Results) -> str:
    """Level of all intervals as text, ``95%``."""
    return f"{100 * confidence(results):g}%"


def _sentence(
    results: Results, own: dict[str, Any] | None, other: dict[str, Any] | None, gap: dict[str, Any] | None
) -> str:
    p = results.settings["primary"]
    metric, model = measured(own, p["metric"]), results.label("models", p["model"])
    cohort, endpoint = cohort_words(results, own), results.label("endpoints", p["endpoint"])
    if own is None or missing(own["value"]):
        return (
            f"The primary result could not be computed: the {metric} of {model} for {endpoint} in {cohort} is "
            f"undefined ({estimate(own).note})."
        )
    count = f" (n = {int(own['n'])}, {int(own['n_events'])} with the event)" if not missing(own["n"]) else ""
    first = (
        f"In {cohort}{count}, the {metric} of {model} for {endpoint} was {number(own['value'])}"
        f"{_interval_words(results, own)}"
    )
    if not p.get("comparator"):
        return f"{first}. {_against_chance(p['metric'], own)}"
    comparator = results.label("models", p["comparator"])
    if other is None or missing(other["value"]):
        return f"{first}. The comparison with {comparator} could not be made: {estimate(other).note}."
    text = f"{first}, that of {comparator} {number(other['value'])}{_interval_words(results, other)}."
    if gap is None or missing(gap["value"]):
        return f"{text} Their difference could not be computed: {estimate(gap).note}."
    sign = "+" if gap["value"] > 0 else ""
    test = f", p = {p_value(gap['p'])}".replace("= <", "< ") if not missing(gap["p"]) else ""
    text += f" The difference was {sign}{number(gap['value'])}{_interval_words(results, gap)}{test}."
    return f"{text} {_verdict(results, gap, model, comparator)}"


def _verdict(results: Results, gap: dict[str, Any], model: str, comparator: str) -> str:
    """What follows from a difference.

    Within folds its p is that of the exchange test, because DeLong's interval may be too narrow with few events in each
    fold: nobody is called better or worse by the interval alone.
    """
    if missing(gap["ci_low"]) or missing(gap["ci_high"]):
        return f"It has no interval ({gap['reason'] or 'no reason recorded'}), so nothing follows from it."
    better, worse = gap["ci_low"] > 0, gap["ci_high"] < 0
    where = f"The interval {'lies above' if better else 'lies below' if worse else 'includes'} zero"
    tested = gap["metric"].endswith(WITHIN)
    if tested and (better or worse) != (gap["p"] <= 1 - confidence(results)):
        open_words = caption("headline_interval_alone" if better or worse else "headline_test_alone")
        return f"{where}, {open_words}: these data do not settle whether {model} differs from {comparator}."
    if better or worse:
        agreed = " and the exchange test agrees" if tested else ""
        return f"{where}{agreed}: in this cohort {model} was {'better' if better else 'worse'} than {comparator}."
    return f"{where}: these data do not show that {model} differs from {comparator}."


def _interval_words(results: Results, row: dict[str, Any]) -> str:
    span = interval(row)
    return f" ({level(results)} CI {span})" if span else ""


def _against_chance(metric: str, row: dict[str, Any]) -> str:
    name = METRIC_WORDS[metric]
    if missing(row["ci_low"]):
        return f"It has no interval ({row['reason'] or 'no reason recorded'}), so nothing follows from it."
    if row["ci_low"] > 0.5:
        return f"The interval lies above 0.5, the {name} of guessing."
    if row["ci_high"] < 0.5:
        return f"The interval lies below 0.5, the {name} of guessing."
    return f"The interval includes 0.5, the {name} of guessing."


def underpowered(results: Results, own: dict[str, Any] | None) -> str:
    """Why the primary result is called underpowered, as validate stamped it; empty when it is not."""
    p = results.settings["primary"]
    cohort = results.cohort_name(p["cohort"])
    if p["metric"] == "auc":
        where = {"model": p["model"], "cohort": p["cohort"], "endpoint": p["endpoint"]}
        where["group"] = results.part(p["cohort"], p["endpoint"])
        width, needed = results.one("auc_ci_width", **where), results.one("auc_n_needed", **where)
        stamp = "" if width is None else str(width["reason"])
        if not stamp.startswith(UNDERPOWERED):
            return ""
        text = caption("underpowered", cohort=cohort, why=stamp.removeprefix(UNDERPOWERED).strip(" :"))
        if needed is not None and not missing(needed["value"]):
            count = f"{needed['value']:,.0f}"
            text += " " + caption("underpowered_needed", n=count, width=TARGET_WIDTH)
        return text
    if own is None or missing(own["n_events"]) or int(own["n_events"]) >= ENOUGH_EVENTS:
        return ""
    why = f"{plural(int(own['n_events']), 'event')}, fewer than {ENOUGH_EVENTS}"
    return caption("underpowered", cohort=cohort, why=why)


def _facts(results: Results) -> Facts:
    cases = sum(table["subject"].nunique() for c, table in results.subjects.items() if not results.subset_of(c))
    shared = [c for c in results.cohorts if results.subset_of(c)]
    own = set().union(*(set(results.subjects[c]["subject"]) for c in results.cohorts if c not in shared), set())
    more = sum(len(set(results.subjects[c]["subject"]) - own) for c in shared)
    roles = [sum(results.role(c) == role for c in results.cohorts) for role in ("development", "external", "followup")]
    words = [f"{n} {w}" for w, n in zip(("development", "external", "follow-up"), roles, strict=True) if n]
    nouns = {"cohort": results.cohorts, "model": results.models, "endpoint": results.settings["endpoints"]}
    count = {noun: plural(len(found), noun).partition(" ") for noun, found in nouns.items()}
    return Facts(
        [
            (f"{cases + more:,}", "subjects enrolled"),
            (count["cohort"][0], f"{count['cohort'][2]}: {', '.join(words)}"),
            (count["model"][0], count["model"][2]),
            (count["endpoint"][0], count["endpoint"][2]),
        ],
        ["enrol/*/subjects.tsv"],
    )


def _figure(
    results: Results, own: dict[str, Any], other: dict[str, Any] | None, gap: dict[str, Any] | None, sources: list[str]
) -> Figure:
    p = results.settings["primary"]
    metric, cohort = measured(own, p["metric"]), cohort_words(results, own)
    rows = [forest_row(results.label("models", p["model"]), own, results.models.index(p["model"]))]
    if other is not None and p["comparator"]:
        rows.append(forest_row(results.label("models", p["comparator"]), other, results.models.index(p["comparator"])))
    svg = forest(
        rows,
        axis=f"{metric} in {cohort} (dashed: guessing)",
        reference=0.5,
        head=("Model", f"{metric} ({level(results)} CI)"),
        alt=f"{metric} of the primary model and its comparator: " + "; ".join(f"{r.label} {r.text}" for r in rows),
    )
    key = "headline_pair" if gap is not None else "headline_single"
    text = caption(key, metric=metric, cohort=cohort, level=level(results))
    return Figure(
        f"{text} {caption('headline_within')}" if own["metric"].endswith(WITHIN) else text,
        "",
        sources,
        svg=svg,
    )


def forest_row(label: str, row: dict[str, Any] | None, series: int = 0, *, target: float | None = None) -> ForestRow:
    """Line of a forest from a metrics row."""
    cell = estimate(row)
    if row is None or missing(row["value"]):
        return ForestRow(label, text=f"{cell.text} {cell.note}", series=series, target=target)
    low, high = (None if missing(row[k]) else float(row[k]) for k in ("ci_low", "ci_high"))
    return ForestRow(label, float(row["value"]), low, high, cell.text, series, target=target)
