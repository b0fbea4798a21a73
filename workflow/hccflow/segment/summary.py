"""How good the masks are, cohort by cohort, and whether they reach what the study demands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hccflow.ids import ScoreKind, Status

COLUMNS = [
    *("cohort", "kind", "label", "n", "n_measured", "n_empty", "dice_median", "dice_q1", "dice_q3"),
    *("hd95_median_mm", "n_hd95", "surface_dice_median", "volume_error_median_percent"),
    *("n_lesions", "n_found", "n_false", "lesion_sensitivity", "false_per_case", "reason"),
]


def summarise(manifest: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Dice, HD95, surface Dice, volume error and detection by lesion, by cohort, kind of mask and label.

    An empty mask counts in `n_empty` and, where there is a reference mask, with a Dice of 0; it has no HD95, so the
    median HD95 is of `n_hd95` cases only. Lesions are pooled over the cases with a reference mask: `lesion_sensitivity`
    is `n_found` of `n_lesions`, `false_per_case` is `n_false` by `n_measured`. Cases that failed are not here: the
    manifest has their rows.
    """
    rows = []
    usable = manifest[manifest["status"] == Status.OK.value]
    for (cohort, kind), group in usable.groupby(["cohort", "kind"], sort=True):
        for label in labels:
            scores, distances, surfaces = (
                pd.to_numeric(group[column]).dropna().to_numpy(dtype=float)
                for column in (f"dice_{label}", f"hd95_{label}_mm", f"surface_dice_{label}")
            )
            lesions, found, false = (
                int(pd.to_numeric(group[f"{what}_{label}"]).sum()) for what in ("n_lesions", "n_found", "n_false")
            )
            volume, truth = (
                pd.to_numeric(group[f"{what}volume_{label}_ml"]).to_numpy(dtype=float) for what in ("", "reference_")
            )
            known = np.isfinite(truth) & (truth > 0)
            errors = 100 * (volume[known] - truth[known]) / truth[known]
            q1, median, q3 = np.percentile(scores, [25, 50, 75]) if scores.size else (None, None, None)
            rows.append({
                "cohort": cohort, "kind": kind, "label": label, "n": len(group), "n_measured": scores.size,
                "n_empty": int((volume == 0).sum()), "dice_median": median, "dice_q1": q1, "dice_q3": q3,
                "hd95_median_mm": float(np.median(distances)) if distances.size else None, "n_hd95": distances.size,
                "surface_dice_median": float(np.median(surfaces)) if surfaces.size else None,
                "volume_error_median_percent": float(np.median(errors)) if errors.size else None,
                "n_lesions": lesions, "n_found": found, "n_false": false,
                "lesion_sensitivity": found / lesions if lesions else None,
                "false_per_case": false / scores.size if scores.size else None,
                "reason": "" if scores.size else "no reference masks",
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def shortfalls(summary: pd.DataFrame, required: Mapping[str, float]) -> list[str]:
    """What the out-of-fold masks lack of the demanded median Dice, one sentence each; no mask may be empty."""
    found = []
    own = summary[summary["kind"] == ScoreKind.OOF.value]
    for label, minimum in required.items():
        rows = own[own["label"] == label]
        if rows["dice_median"].dropna().empty:
            found.append(f"no out-of-fold Dice of '{label}'")
        for cohort, median, empty, n in rows[["cohort", "dice_median", "n_empty", "n"]].to_numpy():
            if pd.notna(median) and median < minimum:
                found.append(f"median out-of-fold Dice of '{label}' in {cohort} is {median:.3f}, below {minimum}")
            if empty:
                found.append(f"{empty} of {n} out-of-fold masks of '{label}' in {cohort} are empty")
    return found
