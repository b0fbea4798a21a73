"""Names of files: the one place where a name under the results folder is built.

Paths are relative to the study's results folder, which callers pass in; the grammar is
``<stage>/<cohort>/batch-<nn>/sub-<id>/[ses-<id>/]sub-<id>[_ses-<id>][_desc-<what>]_<suffix>.<ext>``.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from hccflow.ids import check_id

#: Key in the header of a crop that names its channels, comma-separated.
CHANNELS = "channels"


def case_stem(subject: str, session: str = "") -> str:
    """BIDS-like stem of a case, ``sub-<id>[_ses-<id>]``; an empty session is left out."""
    check_id("subject", subject)
    if not session:
        return f"sub-{subject}"
    return f"sub-{subject}_ses-{check_id('session', session)}"


def case_file(subject: str, session: str, suffix: str, *, desc: str = "", ext: str = ".nii.gz") -> PurePosixPath:
    """Path of one case's file below its batch folder.

    Examples
    --------
    >>> str(case_file("P01", "", "arterial"))
    'sub-P01/sub-P01_arterial.nii.gz'
    >>> str(case_file("R1", "w2", "mask", desc="tumour"))
    'sub-R1/ses-w2/sub-R1_ses-w2_desc-tumour_mask.nii.gz'
    """
    stem = case_stem(subject, session)
    folder = PurePosixPath(f"sub-{subject}")
    if session:
        folder = folder / f"ses-{session}"
    middle = f"_desc-{desc}" if desc else ""
    return folder / f"{stem}{middle}_{suffix}{ext}"


def batch_folder(batch: str) -> str:
    """Name of a batch's folder; its manifest lies beside it under the same name plus ``.tsv``."""
    return f"batch-{check_id('batch', batch)}"
