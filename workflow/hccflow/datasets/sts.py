"""Soft-tissue sarcoma (TCIA Soft-tissue-Sarcoma, as NIfTI by the IBSI): FDG-PET, tumour masks, lung metastasis."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.datasets.folder import find_one, subject_key, write_cohort
from hccflow.errors import DataAbsentError, TableError
from hccflow.provenance import series_digest
from hccflow.tables import write_table

LICENCE = "CC BY 3.0, Vallières et al. 2015, doi:10.7937/K9/TCIA.2015.7GO2GSKS; NIfTI by A. Zwanenburg (IBSI)"
#: The first 22 patients teach; the rest only judge. By number, so before any outcome was looked at.
LAST_DEVELOPMENT = 22
COHORTS = {
    "sts-dev": ("Sarcoma, patients 1-22", 3),
    "sts-ext": ("Sarcoma, patients 23 and later", 2),
}


def write(source: Path, out: Path) -> list[Path]:
    """Write the cohorts ``sts-dev`` and ``sts-ext``.

    Parameters
    ----------
    source : Path
        Folder that holds, at any depth, ``outcome_lungmets_give.csv`` and ``nifti/STS_<nnn>/PET_{image,mask}.nii.gz``.
    out : Path
        Folder of cohort folders.

    Returns
    -------
    list of Path
        The folders written.
    """
    outcomes = pd.read_csv(find_one(source, "outcome_lungmets_give.csv"), dtype=str)
    if (
        list(outcomes.columns) != ["patient_id", "lung_metastasis"]
        or not outcomes["lung_metastasis"].isin(["0", "1"]).all()
    ):
        raise TableError(
            "not the outcome table of this data set", where="outcome_lungmets_give.csv",
            expected="patient_id, lung_metastasis (0 or 1)", found=", ".join(outcomes.columns),
        )  # fmt: skip
    images = find_one(source, "nifti")
    number = outcomes["patient_id"].str.extract(r"^STS_(\d{3})$")[0].astype(int)
    parts = {"sts-dev": number <= LAST_DEVELOPMENT, "sts-ext": number > LAST_DEVELOPMENT}
    folders = []
    for name, rows in parts.items():
        folder = out / name
        title, batches = COHORTS[name]
        patients = outcomes[rows]
        card = {
            "title": title,
            "licence": LICENCE,
            "description": "Pre-treatment FDG-PET (SUV, cropped 5 cm around the tumour) with the published GTV mask.",
            "batches": batches,
            "source": {"kind": "nifti"},
        }
        index = [row for patient in patients["patient_id"] for row in _copy(images / patient, folder / "nifti")]
        write_table(pd.DataFrame(index), folder / "nifti" / "series.tsv", sort_by=["subject", "name"])
        table = pd.DataFrame(
            {
                "subject": patients["patient_id"].map(subject_key),
                "site": "MUHC",  # McGill University Health Centre, the only site of the collection
                "lung_metastasis": patients["lung_metastasis"],
            }
        )
        write_cohort(folder, card, table)
        folders.append(folder)
    return folders


def _copy(patient: Path, images: Path) -> list[dict[str, Any]]:
    """Copy one patient's PET and mask below `images`; rows of ``series.tsv``."""
    rows: list[dict[str, Any]] = []
    subject = subject_key(patient.name)
    for file, name, kind in (("PET_image.nii.gz", "pet", "image"), ("PET_mask.nii.gz", "tumour", "mask")):
        if not (patient / file).is_file():
            raise DataAbsentError("an image of this data set is not there", where=patient / file)
        target = images / f"sub-{subject}" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(patient / file, target)
        rows.append(
            {
                "subject": subject, "session": "", "name": name, "kind": kind, "format": "nifti",
                "path": f"sub-{subject}/{file}", "series_uid": "", "segment": "",
                "value": 1 if kind == "mask" else "", "n_files": 1, "sha256": series_digest([target]),
            }
        )  # fmt: skip
    return rows
