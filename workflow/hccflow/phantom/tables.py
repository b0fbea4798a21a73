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
from hccflow.phantom.people import Person, people

#: The co-expressed gene sets; the first follows heterogeneity, the others factors that have no part in the images.
MODULES = ("PHANTOM_SIGNAL", "PHANTOM_MODULE_A", "PHANTOM_MODULE_B")


def participants_and_lesions(p: Parameters, batches: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Participants (one row per subject) and lesions (one row per subject, reader, time point and lesion)."""
    rows: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    for one in people(p):
        readings = process.draw_readings(
            p.response, p.stream("readers", one.subject), one.diameters[None], np.array([one.ratio])
        )
        survival = process.draw_survival(p.survival, p.stream("survival", one.subject), one.covariates)
        lesions += _lesion_rows(p, one, readings)
        rows.append(
            {
                "subject": one.subject,
                "session": "",
                "site": one.site,
                "batch": assign_batch(one.subject, batches),
                "age": one.age,
                "sex": one.sex,
                "bclc": one.bclc,
                "child_pugh": one.child_pugh,
                "afp_ng_ml": round(float(_afp(p, one)), 1),
                "tumour_number": int(np.isfinite(one.diameters).sum()),
                "diameter_mm": float(readings["baseline_diameter"][0, 0, 0]),
                **_survival_cells(p, one.subject, survival),
            }
        )
    whole = {f"{endpoint}_{what}": "Int64" for endpoint in ("os", "pfs") for what in ("days", "event")}
    return pd.DataFrame(rows).astype(whole), pd.DataFrame(lesions).astype({"new_lesion": "Int64"})


def _afp(p: Parameters, one: Person) -> float:
    return np.expm1(p.clinical.afp_log_mean + p.clinical.afp_log_sd * one.covariates["afp"][0])


def _survival_cells(p: Parameters, subject: str, survival: dict[str, Any]) -> dict[str, int | None]:
    cells: dict[str, int | None] = {}
    for endpoint, (time, event) in survival.items():
        known = not (endpoint == "os" and p.has_fault("no_survival", subject))
        cells[f"{endpoint}_days"] = int(time[0]) if known else None
        cells[f"{endpoint}_event"] = int(event[0]) if known else None
    return cells


def _lesion_rows(p: Parameters, one: Person, readings: dict[str, Any]) -> list[dict[str, Any]]:
    first, last = p.response.days
    day = int(p.stream("day", one.subject).integers(first, last + 1))
    if p.has_fault("late_followup", one.subject):
        day = LATE_DAY
    timepoints = {"baseline": 0, "followup": day}
    if p.has_fault("no_followup", one.subject):
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
            factors = np.array([one.heterogeneity, *rng.standard_normal(len(MODULES) - 1)])
            noise = rng.standard_normal(b.genes)
            rows[one.subject] = np.round(mean + loading * factors[module] + np.sqrt(1 - loading**2) * noise, 3)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_genes(p))
    return table.rename_axis("subject").reset_index()


def histology(p: Parameters) -> pd.DataFrame:
    """Viable and apoptotic tumour cells in percent, for a random part of the subjects.

    ``logit(viability) = 0.3 + 0.8 h - 1.2 R + 0.5 e`` and ``logit(apoptosis) = -1.5 - 0.5 h + 0.9 R + 0.4 e`` with
    heterogeneity h, true response R and standard normal e.
    """
    rows = []
    for one in people(p):
        rng = p.stream("histology", one.subject)
        if rng.random() < p.biology.histology_fraction:
            e = rng.standard_normal(2)
            viability = expit(0.3 + 0.8 * one.heterogeneity - 1.2 * one.response + 0.5 * e[0])
            apoptosis = expit(-1.5 - 0.5 * one.heterogeneity + 0.9 * one.response + 0.4 * e[1])
            rows.append((one.subject, round(100 * float(viability), 1), round(100 * float(apoptosis), 1)))
    return pd.DataFrame(rows, columns=["subject", "viability_pct", "apoptosis_pct"])
