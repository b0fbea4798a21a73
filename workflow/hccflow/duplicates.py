"""One patient under two names: images that are nearly the same, and people who agree in all that is known of them.

Bytes that are the same stop a study when it is read (`hccflow.study`). What is here looks for the rest: a scan that was
exported twice, and a patient who stands in two hospitals' tables. It can only point; a person who holds the key tables
of the hospitals decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813 - its usual name

#: Blocks of a fingerprint (k, j, i): 4 x 12 x 12 differences along i.
BLOCKS = (4, 12, 13)
N_BITS = 4 * 12 * 12
#: Share of differing bits up to which two images are called nearly the same. Measured: PET of 34 and MR of 6 sarcoma
#: patients differ in at least 23 % and 44 % between patients, 95 phantoms, who share one anatomy, in at least 12 %. The
#: same MR resampled to 70 %, smoothed, with noise of 5 % of its SD, or without its last slice differs in at most 7 %.
NEAR = 0.08
#: Two people are told when fewer pairs than this are expected to agree so by chance.
CHANCE = 0.05
#: Fewest columns that both must have.
FEWEST = 3
PAIR = ["cohort", "subject", "other_cohort", "other_subject"]


def fingerprint(image: sitk.Image) -> str:
    """Difference hash of a volume: for each of 576 pairs of neighbouring blocks, which one is brighter; hexadecimal.

    The volume is turned to LPS and averaged over `BLOCKS`, so intensity scale, voxel size, format and identifiers do
    not matter; a cut to another field of view does. Empty for a volume with fewer voxels than blocks along an axis.
    """
    array = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")).astype(np.float64)
    if any(n < blocks for n, blocks in zip(array.shape, BLOCKS, strict=True)):
        return ""
    for axis, blocks in enumerate(BLOCKS):
        edges = np.linspace(0, array.shape[axis], blocks + 1).astype(int)
        sizes = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
        array = np.add.reduceat(array, edges[:-1], axis=axis) / sizes
    bits = np.diff(array, axis=2).ravel() > 0
    return np.packbits(bits).tobytes().hex()


def near_images(cases: pd.DataFrame) -> pd.DataFrame:
    """Pairs of cases of different subjects whose images are nearly the same.

    Parameters
    ----------
    cases : pandas.DataFrame
        ``cohort, subject, fingerprint``; rows without a fingerprint are left out.

    Returns
    -------
    pandas.DataFrame
        The columns `PAIR` and ``differing``, the share of differing bits; one row for each pair of subjects.
    """
    known = cases[cases["fingerprint"].notna() & (cases["fingerprint"] != "")].reset_index(drop=True)
    packed = np.frombuffer(bytes.fromhex("".join(known["fingerprint"])), dtype=np.uint8)
    signs = 2.0 * np.unpackbits(packed).reshape(len(known), N_BITS) - 1
    rows = []
    for i in range(len(known) - 1):
        share = (1 - signs[i + 1 :] @ signs[i] / N_BITS) / 2
        for j in np.flatnonzero(share <= NEAR) + i + 1:
            if known["subject"][i] != known["subject"][j]:
                rows.append([*_pair(known, i, int(j)), float(share[j - i - 1])])
    table = pd.DataFrame(rows, columns=[*PAIR, "differing"]).sort_values("differing", kind="stable")
    return table.drop_duplicates(PAIR, ignore_index=True)


def like_people(people: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Pairs of subjects who agree in every column that both have, where that would hardly happen by chance.

    The number of pairs that agree by chance is expected to be the number of all pairs times the product, over columns,
    of the share of pairs that agree in the column. Only pairs with the same value in the column of most different
    values are looked at.

    Parameters
    ----------
    people : pandas.DataFrame
        ``cohort, subject`` and the columns; a subject with several rows is taken by its first.
    columns : sequence of str
        What is known of a person that no treatment decision made: covariates and outcomes.

    Returns
    -------
    pandas.DataFrame
        The columns `PAIR`, ``agree`` (number of columns) and ``expected`` (pairs by chance).
    """
    table = people.drop_duplicates("subject").reset_index(drop=True)
    cells = table[list(columns)].astype("string").fillna("")
    rows = []
    if len(table) > 1 and len(columns):
        share = {name: _agreement(cells[name]) for name in columns}
        widest = max(columns, key=lambda name: cells[name].nunique())
        pairs = len(table) * (len(table) - 1) / 2
        for value, same in cells.groupby(widest).groups.items():
            places = list(same) if value != "" else []
            for a, i in enumerate(places):
                for j in places[a + 1 :]:
                    both = [name for name in columns if cells[name][i] and cells[name][j]]
                    if len(both) < FEWEST or any(cells[name][i] != cells[name][j] for name in both):
                        continue
                    expected = pairs * float(np.prod([share[name] for name in both]))
                    if expected < CHANCE:
                        rows.append([*_pair(table, i, j), len(both), expected])
    return pd.DataFrame(rows, columns=[*PAIR, "agree", "expected"])


def _agreement(values: pd.Series) -> float:
    """Share of the pairs of known values that are equal."""
    counts = values[values != ""].value_counts().to_numpy(float)
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else 0.0


def _pair(table: pd.DataFrame, i: int, j: int) -> list[str]:
    return [str(table[name][place]) for place in (i, j) for name in ("cohort", "subject")]
