"""The tables of a cohort: participants, lesions, RNA, gene sets, histology."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from hccflow.ids import assign_batch
from hccflow.phantom import process
from hccflow.phantom.faults import LATE_DAY
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import Person, Visit, people, visits

#: The co-expressed gene sets; the first follows heterogeneity, the others factors that have no part in the images.
MODULES = ("PHANTOM_SIGNAL", "PHANTOM_MODULE_A", "PHANTOM_MODULE_B")


def participants_and_lesions(p: Parameters, batches: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Participants (one row per subject and session) and lesions (one per subject, reader, time point and lesion).

    Lesions are empty where the label is a column.
    """
    rows: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    for one in people(p):
        readings = process.draw_readings(
            p.response, p.stream("readers", one.subject), one.diameters[None], np.array([one.ratio])
        )
        if p.design.label == "response":
            lesions += _lesion_rows(p, one, readings)
        fixed = {"subject": one.subject, "site": one.site, "batch": assign_batch(one.subject, batches)}
        diameter = float(readings["baseline_diameter"][0, 0, 0])
        after = {**_label_cell(p, one), **_survival_cells(p, one)}
        if p.design.arms:
            rows += [{**fixed, **_animal(p, one, visit), **after} for visit in visits(p, one)]
        else:
            rows.append({**fixed, "session": "", **_patient(p, one, diameter), **after})
    participants = pd.DataFrame(rows)
    first = ["subject", "session", "site", "batch"]
    participants = participants[[*first, *(name for name in participants if name not in first)]]
    ends = [f"{name}_{what}" for name in ("os", p.design.progression) for what in ("days", "event")]
    whole = {name: "Int64" for name in (*ends, p.design.label) if name in participants}
    return participants.astype(whole), pd.DataFrame(lesions).astype({"new_lesion": "Int64"} if lesions else {})


def _patient(p: Parameters, one: Person, diameter: float) -> dict[str, Any]:
    return {
        "age": one.age,
        "sex": one.sex,
        "bclc": one.bclc,
        "child_pugh": one.child_pugh,
        "afp_ng_ml": round(float(_afp(p, one)), 1),
        "tumour_number": int(np.isfinite(one.diameters).sum()),
        "diameter_mm": diameter,
    }


def _animal(p: Parameters, one: Person, visit: Visit) -> dict[str, Any]:
    error = np.exp(p.response.diameter_noise * p.stream("readers", visit.stream_of(one.subject)).standard_normal())
    diameter = round(float(one.diameters[0] * visit.growth * error), 1)
    return {"session": visit.session, "arm": one.arm, "week": visit.week, "sex": one.sex, "diameter_mm": diameter}


def _afp(p: Parameters, one: Person) -> float:
    return np.expm1(p.clinical.afp_log_mean + p.clinical.afp_log_sd * one.covariates["afp"][0])


def _recorded(p: Parameters, name: str, subject: str) -> bool:
    """Whether the label or survival endpoint `name` is known of a subject."""
    if name == "os" and p.has_fault("no_survival", subject):
        return False
    share = p.design.missing.get(name, 0.0)
    return not share or bool(p.stream(f"missing {name}", subject).random() >= share)


def _label_cell(p: Parameters, one: Person) -> dict[str, int | None]:
    """The label as a column, where it is not measured by readers."""
    name = p.design.label
    return {} if name == "response" else {name: int(one.response) if _recorded(p, name, one.subject) else None}


def _survival_cells(p: Parameters, one: Person) -> dict[str, int | None]:
    if not p.design.survival:
        return {}
    drawn = process.draw_survival(p.survival, p.stream("survival", one.subject), one.covariates)
    cells: dict[str, int | None] = {}
    for endpoint, (time, event) in drawn.items():
        name = p.design.progression if endpoint == "pfs" else endpoint
        known = _recorded(p, name, one.subject)
        cells[f"{name}_days"] = int(time[0]) if known else None
        cells[f"{name}_event"] = int(event[0]) if known else None
    return cells


def _lesion_rows(p: Parameters, one: Person, readings: dict[str, Any]) -> list[dict[str, Any]]:
    first, last = p.response.days
    day = int(p.stream("day", one.subject).integers(first, last + 1))
    if p.has_fault("late_followup", one.subject):
        day = LATE_DAY
    timepoints = {"baseline": 0, "followup": day}
    if p.has_fault("no_followup", one.subject) or not p.design.followup:
        del timepoints["followup"]
    return [
        {
            "subject": one.subject,
            "reader": reader,
            "timepoint": timepoint,
            "days": days,
            "lesion": f"L{lesion + 1}",
            "target": int(lesion < 2),
            "diameter_mm": readings[f"{timepoint}_diameter"][0, r, lesion],
            "viable_mm": readings[f"{timepoint}_viable"][0, r, lesion],
            "new_lesion": int(one.new_lesion) if timepoint == "followup" else None,
        }
        for r, reader in enumerate(p.response.readers)
        for timepoint, days in timepoints.items()
        for lesion in range(len(one.diameters))
        if np.isfinite(one.diameters[lesion])
    ]


def gene_sets(p: Parameters) -> dict[str, list[str]]:
    """Gene sets by name: the three modules, which share no gene, and random sets of other sizes."""
    genes = _genes(p)
    n = p.biology.module
    sets = {name: genes[i * n : (i + 1) * n] for i, name in enumerate(MODULES)}
    rng = p.stream("gene sets")
    for i in range(p.biology.sets - len(MODULES)):
        size = int(rng.integers(15, 41))
        sets[f"PHANTOM_RANDOM_{i + 1:02d}"] = sorted(rng.choice(genes, size, replace=False).tolist())
    return sets


def gmt_text(sets: dict[str, list[str]]) -> str:
    """Gene sets in GMT form: name, description, genes."""
    return "".join("\t".join([name, "hccflow phantom", *genes]) + "\n" for name, genes in sets.items())


def _genes(p: Parameters) -> list[str]:
    return [f"PHG{i + 1:04d}" for i in range(p.biology.genes)]


def rna(p: Parameters) -> pd.DataFrame:
    """Log2 expression, one row per subject and one column per gene, for a random part of the subjects.

    A gene of a module is ``m + loading * factor + sqrt(1 - loading^2) * e``, any other ``m + e``; the factor of
    PHANTOM_SIGNAL is heterogeneity, those of the other modules and e are standard normal.
    """
    b = p.biology
    mean = p.stream("genes").uniform(3.0, 11.0, b.genes)
    loading = np.where(np.arange(b.genes) < b.module * len(MODULES), b.loading, 0.0)
    module = np.minimum(np.arange(b.genes) // b.module, len(MODULES) - 1)
    rows = {}
    for one in people(p):
        rng = p.stream("rna", one.subject)
        if rng.random() < b.rna_fraction:
            factors = np.array([_shown(p, one), *rng.standard_normal(len(MODULES) - 1)])
            noise = rng.standard_normal(b.genes)
            rows[one.subject] = np.round(mean + loading * factors[module] + np.sqrt(1 - loading**2) * noise, 3)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_genes(p))
    return table.rename_axis("subject").reset_index()


def _shown(p: Parameters, one: Person) -> float:
    """What biology follows: heterogeneity, or, where nothing is to be found, a number that no image shows."""
    return one.heterogeneity if p.biology.signal else float(p.stream("null", one.subject).standard_normal())


def histology(p: Parameters) -> pd.DataFrame:
    """Viable and apoptotic tumour cells in percent, for a random part of the subjects.

    ``logit(viability) = 0.3 + 0.8 h - 1.2 R + 0.5 e`` and ``logit(apoptosis) = -1.5 - 0.5 h + 0.9 R + 0.4 e`` with
    heterogeneity h, true response R and standard normal e. With repeated scans the tissue is that of the last session.
    """
    rows = []
    for one in people(p):
        rng = p.stream("histology", one.subject)
        if rng.random() < p.biology.histology_fraction:
            e, h = rng.standard_normal(2), _shown(p, one)
            viability = expit(0.3 + 0.8 * h - 1.2 * one.response + 0.5 * e[0])
            apoptosis = expit(-1.5 - 0.5 * h + 0.9 * one.response + 0.4 * e[1])
            session = [visits(p, one)[-1].session] if p.design.weeks else []
            rows.append((one.subject, *session, round(100 * float(viability), 1), round(100 * float(apoptosis), 1)))
    columns = ["subject", *(["session"] if p.design.weeks else []), "viability_pct", "apoptosis_pct"]
    return pd.DataFrame(rows, columns=columns)
