"""What a network looked at in its worst, median and best cases: pictures, and a table that says how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import DataAbsentError
from hccflow.ids import ScoreKind
from hccflow.models.encoding import KEYS
from hccflow.networks.gradcam import METHODS, Explanation, explain
from hccflow.networks.loop import Rows
from hccflow.networks.model import NetworkModel, load_network
from hccflow.paths import case_file
from hccflow.tables import write_table

NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
COLUMNS = [
    *(*KEYS, "chosen", "kind", "fold", "y_true", "y_prob"),
    *("method", "energy_in_mask", "mask_fraction", "randomised_correlation", "reason"),
]


def choose_cases(scores: pd.DataFrame, each: int) -> pd.DataFrame:
    """Take the worst, the median and the best `each` cases by the distance of probability and label.

    Parameters
    ----------
    scores : pandas.DataFrame
        Schema `predictions`; rows without label or score are left out, of several repeats the first is taken.
    """
    known = scores[scores["y_true"].notna() & scores["y_prob"].notna()].drop_duplicates(KEYS)
    error = (known["y_true"].astype(float) - known["y_prob"]).abs()
    order = known.loc[error.sort_values(kind="stable").index]
    middle = max(0, (len(order) - each) // 2)
    groups = {"worst": order.iloc[::-1][:each], "median": order.iloc[middle : middle + each], "best": order[:each]}
    parts = [rows.assign(chosen=name) for name, rows in groups.items()]
    return pd.concat(parts).drop_duplicates(KEYS).reset_index(drop=True)


def explain_cohort(
    train: Path, subjects: pd.DataFrame, crops: pd.DataFrame, scores: pd.DataFrame, out: Path, *, each: int, seed: int
) -> pd.DataFrame:
    """Write ``cam.tsv`` and one picture a case for a cohort.

    A training case is explained by the networks of the fold that has not seen it, every other one by the final ones.

    Parameters
    ----------
    train : Path
        Training folder, with its folds.
    subjects, crops, scores : pandas.DataFrame
        Enrolled cases, table of crops, and the network's scores of this cohort.
    out : Path
        Folder to fill.
    each : int
        Cases of each group.
    seed : int
        Seed of the randomised weights.
    """
    chosen = choose_cases(scores, each)
    models: dict[Path, NetworkModel] = {}
    rows = []
    for place, record in enumerate(chosen.to_dict("records")):
        case = {str(name): value for name, value in record.items()}
        folder = _judge(train, case)
        if folder not in models:
            models[folder] = load_network(folder)
        model = models[folder]
        one = subjects.merge(pd.DataFrame([{key: case[key] for key in KEYS}]), on=KEYS)
        x, found = model.inputs(one, crops)
        row = model.rows(x, found)
        sign = 1.0 if case["y_prob"] >= 0.5 else -1.0
        results = {m: explain(model.networks, row, model.head, sign, seed + 1000 * place, m) for m in METHODS}
        name = case_file(case["subject"], case["session"], "cam", desc=case["chosen"], ext=".png").name
        _draw(row, results, case, out / name)
        rows += [
            {
                **case, "method": method, "energy_in_mask": result.energy_in_mask,
                "mask_fraction": result.mask_fraction, "randomised_correlation": result.randomised_correlation,
                "reason": result.reason,
            }
            for method, result in results.items()
        ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    write_table(table, out / "cam.tsv", sort_by=["chosen", *KEYS, "method"])
    return table


def deep_features(model: NetworkModel, subjects: pd.DataFrame, crops: pd.DataFrame) -> pd.DataFrame:
    """Deep features of cases by the final networks: ``seed<n>_<k>``; comparable between cases of one seed only."""
    if subjects.empty:
        return subjects[KEYS]
    x, found = model.inputs(subjects, crops)
    have = found.present
    outputs = model.outputs(model.rows(x[have], found))
    named = {
        f"seed{n}_{k:03d}": out["features"][:, k]
        for n, out in enumerate(outputs)
        for k in range(out["features"].shape[1])
    }
    keys = subjects.reset_index(drop=True).loc[have, KEYS].reset_index(drop=True)
    return pd.concat([keys, pd.DataFrame(named).astype("float64")], axis=1)


def _judge(train: Path, case: Mapping[str, Any]) -> Path:
    if case["kind"] != ScoreKind.OOF.value:
        return train / "model"
    folder = train / f"fold-{int(case['repeat'])}-{int(case['fold'])}" / "model"
    if not folder.is_dir():
        raise DataAbsentError("the networks of a fold are not there", where=folder, todo="run train_fold again")
    return folder


def _draw(row: Rows, results: Mapping[str, Explanation], case: Mapping[str, Any], path: Path) -> None:
    """One picture: every channel in the slice with most of the region, its outline, and the maps over the first one."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    mask = row.masks[0, 0].cpu().numpy() > 0.5
    k = int(mask.sum(axis=(1, 2)).argmax())
    images = row.images[0].cpu().numpy()
    titles = [f"channel {channel + 1}" for channel in range(len(images))]
    for method, result in results.items():
        energy = "undefined" if result.energy_in_mask is None else f"{result.energy_in_mask:.2f}"
        titles.append(f"{NAMES[method]}\nin mask {energy}, chance {result.mask_fraction:.2f}")
    figure, axes = plt.subplots(1, len(titles), figsize=(2.3 * len(titles), 3.0), layout="constrained")
    maps: list[Explanation | None] = [None] * len(images) + list(results.values())
    for place, (axis, title, over) in enumerate(zip(axes, titles, maps, strict=True)):
        image = images[place if over is None else 0]
        low, high = np.percentile(image, [1, 99])
        axis.imshow(image[k], cmap="gray", vmin=low, vmax=high)
        if over is not None:
            axis.imshow(over.cam[k] / (float(over.cam.max()) or 1.0), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        axis.contour(mask[k], [0.5], colors="#4dd0a8", linewidths=1.2)
        axis.set_title(title, fontsize=8)
        axis.set_axis_off()
    figure.suptitle(f"{case['chosen']}: label {int(case['y_true'])}, probability {case['y_prob']:.2f}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part.{path.name}")
    figure.savefig(part, dpi=110, metadata={"Software": None})
    plt.close(figure)
    part.replace(path)
