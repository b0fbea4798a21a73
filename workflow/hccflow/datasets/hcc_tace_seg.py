"""HCC-TACE-Seg (TCIA): 105 patients treated by TACE, three readers, follow-up, and a published radiomics table.

The layout is that of the tables gathered from the public repository PietroMarvulli/TACE. What is odd in them, and what
is done about it, stands in docs/endpoints.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hccflow.datasets.folder import find_one, subject_key, write_cohort
from hccflow.errors import TableError
from hccflow.tables import write_table

COHORT = "hcc-tace-seg"
READERS = ("1", "2", "3")
DAYS_A_WEEK = 7
LICENCE = "CC BY 4.0, Moawad et al. 2021, doi:10.7937/TCIA.5FNA-0924; tables for testing only, not to be republished"

#: Published column -> our column and the meaning of its codes (None: a number or a 0/1 as it stands).
CLINICAL: dict[str, tuple[str, Mapping[str, str] | None]] = {
    "age": ("age", None),
    "Sex": ("sex", {"1": "M", "2": "F"}),
    "hepatitis": ("hepatitis", {"No virus": "none", "HCV only": "HCV", "HBV only": "HBV", "HCV and HBV": "both"}),
    "Smoking": ("smoking", None),
    "Alcohol": ("alcohol", None),
    "fhx_can": ("family_cancer", None),
    "fhx_livc": ("family_liver_cancer", None),
    "Diabetes": ("diabetes", None),
    "Personal history of cancer": ("earlier_cancer", None),
    "Evidence_of_cirh": ("cirrhosis", None),
    "Pathology": (
        "grade",
        {
            "Well differentiated": "well", "Well-moderately differentiated": "moderate",
            "Moderately differentiated": "moderate", "Moderately-poorly differentiated": "poor",
            "Poorly differentiated": "poor", "NOT STATED": "", "No biopsy": "",
        },
    ),
    "PS_bclc_0_0_1-2_1_3-4_3": ("performance", {"0": "0", "1": "1-2", "3": "3-4"}),
    "CPS": ("child_pugh", {"A": "A", "B": "B", "C": "C"}),
    "Tr_Size": ("tumour_size_cm", None),
    "tumor_nodul": ("multinodular", {"uninodular": "0", "multinodular": "1"}),
    "Vascular invasion": ("vascular_invasion", None),
    "Metastasis": ("metastasis", None),
    "Lymphnodes": ("lymph_nodes", None),
    "Portal Vein Thrombosis": ("portal_thrombosis", None),
    "T_involvment": ("over_half_of_liver", {"< or = 50%": "0", ">50%": "1"}),
    "AFP": ("afp_ng_ml", None),
    "CLIP_Score": ("clip", {f"Stage_{score}": str(score) for score in range(7)}),
    "Okuda": ("okuda", {"Stage I": "I", "Stage II": "II", "Stage III": "III"}),
    "TNM": ("tnm", {f"Stage-{s}": s for s in ("I", "II", "IIIA", "IIIB", "IIIC", "IVA", "IVB")}),
    "BCLC": ("bclc", {f"Stage-{s}": s for s in "ABCD"}),
    "chemotherapy": (
        "chemotherapy",
        {
            "Cisplatin, doxorubicin, Mitomycin-C": "triple", "doxorubicin LC beads": "beads",
            "Cisplatin, Mitomycin-C": "other", "Cisplastin": "other", "NA": "",
        },
    ),
}  # fmt: skip


def write(source: Path, out: Path) -> list[Path]:
    """Write the cohort ``hcc-tace-seg``: card, participants, lesion sums of three readers, radiomics table.

    Parameters
    ----------
    source : Path
        Folder that holds, at any depth, ``general/clinical_data.csv`` and ``general/radiomics_features.csv``.
    out : Path
        Folder of cohort folders.

    Returns
    -------
    list of Path
        The folder written.
    """
    clinical = pd.read_csv(find_one(source, "general/clinical_data.csv"), dtype=str, keep_default_na=False)
    absent = [name for name in ("ID", *CLINICAL, "OS", "TTP", "Interval_BL") if name not in clinical]
    if absent:
        raise TableError("not the clinical sheet of this data set", where="clinical_data.csv", expected=absent[0])
    features = pd.read_csv(find_one(source, "general/radiomics_features.csv"), dtype=str, keep_default_na=False)
    folder = out / COHORT
    card = {
        "title": "HCC-TACE-Seg",
        "licence": LICENCE,
        "description": "105 patients with HCC and TACE at one centre; CT before and after it, read by three readers.",
        "batches": 4,
        "source": {"kind": "table"},
    }
    write_cohort(folder, card, participants(clinical))
    write_table(lesions(clinical), folder / "lesions.tsv", sort_by=["subject", "reader", "timepoint"])
    write_table(radiomics(features), folder / "features.tsv", sort_by=["subject"])
    return [folder]


def participants(clinical: pd.DataFrame) -> pd.DataFrame:
    """Clinical columns by our dictionary, and follow-up in days (the sheet has weeks).

    ``ttp_event`` is 1 for progression, 2 for death without recorded progression, 0 otherwise. ``ttp_days`` is the
    published time: for the dead without progression the last imaging, not the death; ``ttp_death_days`` puts these
    deaths on their own day.
    """
    table = pd.DataFrame({"subject": clinical["ID"].map(subject_key), "site": "MDA"})
    for published, (name, codes) in CLINICAL.items():
        table[name] = _decode(clinical[published], codes)
    died = clinical["Death_1_StillAliveorLostToFU_0"] == "1"
    progressed = clinical["Censored_0_progressed_1"] == "1"
    table["os_days"] = _days(clinical["OS"])
    table["os_event"] = died.astype(int)
    table["ttp_days"] = _days(clinical["TTP"])
    table["ttp_event"] = np.select([progressed, died], [1, 2], 0)
    table["ttp_death_days"] = table["ttp_days"].mask(table["ttp_event"] == 2, table["os_days"])
    return table


def _decode(cells: pd.Series, codes: Mapping[str, str] | None) -> pd.Series:
    if codes is None:
        return cells
    unknown = sorted(set(cells) - {*codes, ""})
    if unknown:
        raise TableError(
            "a code that the published sheet should not have", where=f"clinical_data.csv, column {cells.name}",
            expected=", ".join(codes), found=unknown[0],
        )  # fmt: skip
    return cells.map({**codes, "": ""})


def _days(weeks: pd.Series) -> pd.Series:
    """Days from weeks; the sheet's weeks are sevenths rounded to two or more decimals."""
    return (pd.to_numeric(weeks.replace("", np.nan)) * DAYS_A_WEEK).round()


def lesions(clinical: pd.DataFrame) -> pd.DataFrame:
    """Sums of diameters by reader: one row per patient, reader and time point, lesion ``sum``.

    Baseline is ``Interval_BL`` days before the index date, follow-up ``Interval_FU`` weeks after it, both as they are
    in the sheet, negative or long. A reader without any value for a patient has no row.
    """
    baseline_days = -pd.to_numeric(clinical["Interval_BL"])
    followup_days = _days(clinical["Interval_FU"])
    parts = []
    for reader in READERS:
        for timepoint, suffix, days in (("baseline", "BL", baseline_days), ("followup", "FU", followup_days)):
            area = f"{reader}_EASL_{suffix}"
            parts.append(
                pd.DataFrame(
                    {
                        "subject": clinical["ID"].map(subject_key),
                        "reader": reader,
                        "timepoint": timepoint,
                        "days": days,
                        "lesion": "sum",
                        "target": 1,
                        "diameter_mm": clinical[f"{reader}_RECIST_{suffix}"],
                        "viable_mm": clinical[f"{reader}_mRECIST_{suffix}"],
                        "viable_area_mm2": clinical.get(area, ""),
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    return table[(table[["diameter_mm", "viable_mm", "viable_area_mm2"]] != "").any(axis=1)]


def radiomics(published: pd.DataFrame) -> pd.DataFrame:
    """Features by subject, named as hccflow names them; patients without a single value are left out.

    The table has no column of identifiers: they are a folder name inside the image's and the mask's path, and both
    must agree. The paths bear dates and go no further.
    """
    ids = [published[name].str.extract(r"[\\/](HCC_\d{3})[\\/]")[0] for name in ("Image", "Mask")]
    if ids[0].isna().any() or (ids[0] != ids[1]).any() or ids[0].duplicated().any():
        raise TableError(
            "the paths do not name each patient once", where="radiomics_features.csv", expected="one HCC_<nnn> per row"
        )
    names = [
        name for name in published.columns if name not in ("Image", "Mask") and not name.startswith("diagnostics_")
    ]
    values = published[names].mask(published[names] == "")
    values = values.apply(pd.to_numeric).rename(columns={name: _feature_name(name) for name in names})
    table = pd.concat([ids[0].map(subject_key).rename("subject"), values], axis=1)
    return table[values.notna().any(axis=1)]


def _feature_name(published: str) -> str:
    shape = "original_shape_"
    return f"shape__{published.removeprefix(shape)}" if published.startswith(shape) else f"ct__{published}"
