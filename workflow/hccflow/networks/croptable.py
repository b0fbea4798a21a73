"""Where the crops of a cohort lie. Apart from `hccflow.networks.crops`: torch takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hccflow.errors import DataAbsentError
from hccflow.ids import Status
from hccflow.models.encoding import KEYS
from hccflow.paths import case_file
from hccflow.tables import read_table

#: Name of the crop's column in the table of a cohort's crops: the path of the file.
PATH = "crop"


def crop_table(folders: Sequence[Path]) -> pd.DataFrame:
    """Cases with a crop below folders ``crop-<name>``, each with its ``manifest.tsv`` and its batches.

    Returns
    -------
    pandas.DataFrame
        ``cohort, subject, session, digest, crop`` (the path of the file).
    """
    parts = []
    for folder in folders:
        name = folder.name.removeprefix("crop-")
        manifest = read_table(folder / "manifest.tsv", "manifest")
        rows = manifest.loc[manifest["status"] == Status.OK.value, [*KEYS, "digest"]]
        files = {path.name: path for path in folder.glob("batch-*/**/*.safetensors")}
        cases = zip(rows["subject"], rows["session"], strict=True)
        names = [case_file(subject, session, "crop", desc=name, ext=".safetensors").name for subject, session in cases]
        lost = [file for file in names if file not in files]
        if lost:
            raise DataAbsentError("a crop is not there", where=folder, found=lost[0], todo="run the rule crop again")
        parts.append(rows.assign(**{PATH: [str(files[file]) for file in names]}))
    return pd.concat(parts, ignore_index=True)
