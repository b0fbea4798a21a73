"""Every subject: the flow diagram."""

from __future__ import annotations

import pandas as pd

from hccflow.errors import TableError
from hccflow.figures.report import Flow, flow_diagram
from hccflow.ids import Status
from hccflow.report.page import Block, Callout, Figure, Section
from hccflow.report.results import Results
from hccflow.report.words import caption, plural

FLOW_COLUMNS = ("step", "rule", "n_in", "n_out", "n_left")
FAILED = "Conversion failed"


def build(results: Results) -> Section:
    """Section with the flow diagram of all cohorts."""
    losses = {cohort: cohort_losses(results, cohort) for cohort in results.cohorts}
    # The cohort with most steps first: only those with failed conversions have that step, and it has its place there.
    longest = sorted(losses.values(), key=len, reverse=True)
    steps = list(dict.fromkeys(step for found in longest for step in found))
    flows = [_flow(results, cohort, [found.get(step, 0) for step in steps]) for cohort, found in losses.items()]
    unit = "cases" if any((t["session"] != "").any() for t in results.subjects.values()) else "participants"
    alt = "Flow diagram. " + " ".join(
        f"{f.title}: {f.n_in} {unit}; "
        + "".join(f"{n} left at: {s}; " for s, n in zip(steps, f.losses, strict=True) if n)
        + f"{f.n_out} enrolled."
        for f in flows
    )
    total, enrolled = sum(f.n_in for f in flows), sum(f.n_out for f in flows)
    sources = ["enrol/*/flow.tsv", "enrol/*/manifest.tsv", "enrol/*/subjects.tsv", "enrol/split.tsv"]
    figure = Figure(
        caption("flow", total=plural(total, unit[:-1]), enrolled=f"{enrolled:,}", cohorts=plural(len(flows), "cohort")),
        alt,
        sources,
        svg=flow_diagram(steps, flows, unit=unit, alt=alt),
    )
    blocks: list[Block] = [figure]
    if results.settings.get("null_seed") is not None:
        blocks.insert(0, Callout("warning", "Null study", caption("null", seed=results.settings["null_seed"])))
    return Section("flow", "Subjects", blocks)


def cohort_losses(results: Results, cohort: str) -> dict[str, int]:
    """How many cases of a cohort left at each step, failed conversions apart from exclusions.

    Raises
    ------
    TableError
        The flow and the manifest tell different stories.
    """
    name = f"enrol/{cohort}/flow.tsv"
    flow = results.need(name, FLOW_COLUMNS)
    manifest = results.need(f"enrol/{cohort}/manifest.tsv", schema="manifest")
    rules = flow[flow["step"] == "eligibility"]
    excluded = manifest.loc[manifest["status"] == Status.EXCLUDED.value, "reason"].value_counts()
    failed = int((manifest["status"] == Status.FAILED.value).sum())
    losses: dict[str, int] = {}
    for rule, lost in zip(rules["rule"], rules["n_out"].astype(int), strict=True):
        not_excluded = lost - int(excluded.get(rule, 0))
        if not_excluded or rule == FAILED:
            losses[FAILED] = losses.get(FAILED, 0) + not_excluded
        losses[rule] = losses.get(rule, 0) + int(excluded.get(rule, 0))
    told = {
        "participants": int(flow["n_in"].iloc[0]),
        "failed": losses.get(FAILED, 0),
        "lost": int(rules["n_out"].sum()),
        "enrolled": int(flow.loc[flow["step"] == "enrolled", "n_left"].sum()),
    }
    ok = int((manifest["status"] == Status.OK.value).sum())
    seen = {"participants": len(manifest), "failed": failed, "lost": len(manifest) - ok, "enrolled": ok}
    if told != seen or ok != len(results.subjects[cohort]):
        raise TableError(
            "the flow, the manifest and the enrolled subjects disagree",
            where=name,
            expected=f"{seen} as in manifest.tsv, {len(results.subjects[cohort])} rows in subjects.tsv",
            found=str(told),
            todo="run enrol again",
        )
    return losses


def _flow(results: Results, cohort: str, losses: list[int]) -> Flow:
    """Column of one cohort."""
    subjects = results.subjects[cohort]
    parent = results.subset_of(cohort)
    remarks = []
    if parent:
        both = len(set(subjects["subject"]) & set(results.subjects[parent]["subject"]))
        remarks.append(f"{plural(both, 'subject')} shared with {results.cohort_name(parent)}")
    unknown = {e: int(pd.to_numeric(subjects[e]).isna().sum()) for e in results.endpoints("binary") if e in subjects}
    remarks += [f"{n} without {endpoint}" for endpoint, n in unknown.items() if n]
    n_in = len(subjects) + sum(losses)
    uses = _uses(results, cohort, subjects)
    title, role = results.cohort_name(cohort), results.role_word(cohort)
    return Flow(title, role, n_in, losses, len(subjects), uses, "; ".join(remarks))


def _uses(results: Results, cohort: str, subjects: pd.DataFrame) -> list[tuple[str, int]]:
    """What the enrolled cases are used for: training and internal test by the split, or validation only."""
    split = results.table("enrol/split.tsv")
    if cohort not in results.development or split is None:
        return [("validation only", len(subjects))]
    rows = split[(split["cohort"] == cohort) & (split["repeat"] == split["repeat"].min())]
    counts = subjects["subject"].map(dict(zip(rows["subject"], rows["role"], strict=True))).fillna("not in the split")
    words = {"train": "training", "test": "internal test"}
    return [(words.get(str(role), str(role)), int(n)) for role, n in counts.value_counts().items()]
