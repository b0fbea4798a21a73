"""Who taught and who judged: what each fitted step saw, what was frozen, how often a cohort was looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from hccflow.duplicates import PAIR, like_people, near_images
from hccflow.freeze import other_code
from hccflow.ids import Status
from hccflow.models.targets import SURVIVAL
from hccflow.report.page import DASH, Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results, groups, records, require
from hccflow.report.sections.models import FIT_COLUMNS
from hccflow.report.words import caption, short
from hccflow.tables import subjects_digest

#: Prefix of a step inside an inner cross-validation, ``tune.0.scale``, and what the report says for it.
INNER, INNER_WORDS = r"^(?!network\.\d+\.(?!stop))(?:\w+\.\d+\.)+", "inner: "
#: Training of one network (one seed).
NETWORK = r"network\.\d+"
#: Digest of the subjects that each fold, and the final fit (None), may see.
Allowed = Mapping[tuple[int, int] | None, str]


def build(results: Results) -> Section:
    """Section with the fitted steps, the frozen models and the looks at external cohorts."""
    blocks = [*_fits(results), *_frozen(results), *_looks(results), *_duplicates(results)]
    return Section("leakage", "Who taught, who judged", blocks)


def training_sets(split: pd.DataFrame, taught: set[str]) -> dict[tuple[int, int] | None, str]:
    """Digest of the subjects that each fold, and the final fit (None), may see: training rows outside the fold.

    Parameters
    ----------
    split : pandas.DataFrame
        ``cohort, subject, role, repeat, fold``.
    taught : set of str
        Cases that the model's manifest says could teach, as ``cohort/subject``.
    """
    train = split[split["role"] == "train"]
    keys = train["cohort"] + "/" + train["subject"]
    train = train.assign(key=keys)[keys.isin(taught)]
    sets: dict[tuple[int, int] | None, str] = {None: subjects_digest(train["key"].tolist())}
    for repeat, fold in sorted(set(zip(train["repeat"].astype(int), train["fold"].astype(int), strict=True))):
        rest = train[(train["repeat"] == repeat) & (train["fold"] != fold)]
        sets[repeat, fold] = subjects_digest(rest["key"].tolist())
    return sets


def _fits(results: Results) -> list[Block]:
    split = results.table("enrol/split.tsv", "split")
    knowing = _knowing(results)
    rows: list[Row] = []
    sources = []
    for model in results.models:
        name, manifest = f"train/{model}/fits.tsv", results.table(f"train/{model}/manifest.tsv", "manifest")
        fits = results.table(name)
        if fits is None or fits.empty:
            continue
        sources.append(name)
        require(fits, FIT_COLUMNS, name)
        allowed: list[Allowed] = []
        if split is not None and manifest is not None:
            ok = manifest[manifest["status"] == Status.OK.value]
            taught = set(ok["cohort"] + "/" + ok["subject"])
            allowed = [training_sets(split, who) for who in (taught, *(taught & known for known in knowing))]
        rows.append(Row([Cell(results.label("models", model))], heading=True))
        fits = fits.assign(step=fits["step"].str.replace(INNER, INNER_WORDS, regex=True))
        for (step,), part in groups(fits, ["step"]):
            seen = sorted({int(part["n"].min()), int(part["n"].max())})
            cells = [Cell(step), Cell(f"{len(part)}"), Cell(" to ".join(map(str, seen)))]
            rows.append(Row([*cells, Cell(f"{part['subjects_digest'].nunique()}"), _verdict(step, part, allowed)]))
    if not rows:
        return [Callout("absent", "No record of fits", caption("fits_none"))]
    columns = ["Fitted step", "Fits", "Cases seen", "Different sets", "Exactly its training set"]
    return [Table("fits", caption("fits"), columns, rows, [*sources, "train/*/manifest.tsv", "enrol/split.tsv"])]


def _knowing(results: Results) -> list[set[str]]:
    """Development subjects that know each endpoint: a step that learns from one label sees no others."""
    subjects = pd.concat([results.subjects[cohort] for cohort in results.development], ignore_index=True)
    found = []
    for name, spec in results.settings["endpoints"].items():
        column = f"{name}_time_days" if spec["kind"] == SURVIVAL else name
        if column in subjects:
            rows = subjects[subjects[column].notna()]
            found.append(set(rows["cohort"] + "/" + rows["subject"]))
    return found


def _verdict(step: str, part: pd.DataFrame, allowed: Sequence[Allowed]) -> Cell:
    """How many fits of a step saw exactly the subjects that their fold may teach with, or those that know a label."""
    if step.startswith(INNER_WORDS):
        return Cell(DASH, "inner cross-validation: part of the training set of its fold")
    if not allowed:
        return Cell(DASH, "no split.tsv or no manifest of the model")
    right = 0
    for record in records(part):
        final = pd.isna(record["fold"])
        place = None if final else (int(record["repeat"]), int(record["fold"]))
        right += any(str(record["subjects_digest"]) == sets.get(place) for sets in allowed)
    if right == len(part):
        return Cell(f"{right} of {right}", strong=True)
    if re.fullmatch(NETWORK, step):
        return Cell(f"{right} of {len(part)}", "in a fold without the subjects that decide when to stop (inner: stop)")
    return Cell(f"{right} of {len(part)}", "not the subjects that its fold may teach with: see fits.tsv")


def _frozen(results: Results) -> list[Block]:
    rows = []
    sources = []
    for model in results.models:
        name = f"train/{model}/freeze.json"
        freeze = results.document(name)
        if freeze is None:
            continue
        sources.append(name)
        changed = other_code(freeze) if "code_digest" in freeze else "made by code that it does not name"
        rows.append(Row([Cell(results.label("models", model), changed), Cell(short(results.read[name]))]))
        rows += [Row([Cell(key), Cell(text)], indent=True) for key, text in flatten(freeze) if _is_digest(text)]
    if not rows:
        return [Callout("absent", "No frozen models", caption("freeze_none"))]
    return [
        Table(
            "frozen",
            caption("frozen", models=len(sources)),
            ["Model and part", "SHA-256"],
            rows,
            sources,
            text_columns=("SHA-256",),
            folded=True,
        )
    ]


def flatten(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Entries of a nested document as (path, text), sorted by path."""
    if isinstance(value, dict):
        return [
            pair for key in sorted(value) for pair in flatten(value[key], f"{prefix}{' / ' if prefix else ''}{key}")
        ]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(v) for v in value))]
    return [(prefix, "" if value is None else str(value))]


def _is_digest(text: str) -> bool:
    return len(text) in (16, 32, 64) and all(c in "0123456789abcdef" for c in text)


def _looks(results: Results) -> list[Block]:
    names = results.find("validate/*/*.looks.tsv")
    tables = [(name, table) for name in names if (table := results.table(name)) is not None and not table.empty]
    judged = [c for c in results.cohorts if c not in results.development]
    if not judged:
        return [Callout("absent", "No external cohort", caption("external_none"))]
    if not tables:
        return [Callout("warning", "No ledger", caption("looks_none"))]
    table = pd.concat([t for _, t in tables], ignore_index=True).drop_duplicates()
    columns = [c for c in table.columns if any(_show(value) for value in table[c])]
    names_of = {"cohort": results.cohort_name, "model": lambda name: results.label("models", name)}
    rows = [
        Row([Cell(names_of[c](record[c]) if c in names_of else _show(record[c])) for c in columns])
        for record in records(table)
    ]
    counts = table.groupby("cohort").size() if "cohort" in table.columns else pd.Series(dtype=int)
    told = "; ".join(f"{results.cohort_name(c)}: {int(counts.get(c, 0))}" for c in judged) or DASH
    heads = [c.replace("_", " ").capitalize() for c in columns]
    return [Table("looks", caption("looks", told=told), heads, rows, [name for name, _ in tables], text_columns=heads)]


def _duplicates(results: Results) -> list[Block]:
    """Pairs of subjects who may be one patient: images that are nearly the same, people who agree in everything."""
    names = [f"convert/{c}/manifest.tsv" for c in results.cohorts]
    manifests = [t for name in names if (t := results.table(name)) is not None and "fingerprint" in t]
    cases = pd.concat(manifests) if manifests else pd.DataFrame(columns=["cohort", "subject", "fingerprint"])
    people = pd.concat(results.subjects.values(), ignore_index=True)
    images = near_images(cases)
    alike = like_people(people, [name for name in results.settings["columns"] if name in people])
    rows = []
    for table, found in (
        (images, lambda r: f"image differs in {100 * r['differing']:.1f} % of the fingerprint"),
        (alike, lambda r: f"the same in all {r['agree']} columns that both have"),
    ):
        for r in records(table):
            who = (f"{r[s]} ({results.cohort_name(r[c])})" for c, s in (PAIR[:2], PAIR[2:]))
            rows.append(Row([*map(Cell, who), Cell(found(r))]))
    if not rows:
        words = caption("duplicates_none", images=f"{cases['fingerprint'].notna().sum():,}", people=f"{len(people):,}")
        return [Callout("note", "No patient twice, as far as can be seen", words)]
    columns = ["Subject", "Other subject", "What agrees"]
    sources = [*names, "enrol/*/subjects.tsv"]
    return [
        Callout("warning", "Perhaps one patient under two names", caption("duplicates_todo")),
        Table("duplicates", caption("duplicates"), columns, rows, sources, text_columns=columns),
    ]


def _show(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    text = str(value)
    return short(text) if _is_digest(text) else text
