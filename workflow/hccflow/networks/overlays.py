"""What a network looked at in its worst, median and best cases: pictures, and a table that says how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
COLUMNS = [
    *(*KEYS, "chosen", "kind", "fold", "y_true", "y_prob", "risk", "time_days", "event", "error"),
    *("endpoint", "explains", "method", "energy_in_mask", "mask_fraction", "randomised_correlation", "reason"),
]


def choose_cases(scores: pd.DataFrame, endpoint: str, each: int) -> pd.DataFrame:
    """Take the worst, the median and the best `each` cases by how wrong their score is for an endpoint.

    For a binary endpoint that is the distance of probability and label; for a survival endpoint the share of the
    comparable pairs of a case, those in which the earlier of two times is an event, that its risk puts in the wrong
    order (of equal risks half).

    Parameters
    ----------
    scores : pandas.DataFrame
        Schema `predictions`; rows without outcome or score are left out, of several repeats the first is taken.
    endpoint : str
    each : int
        Cases of each group.
    """
    own = scores[scores["endpoint"] == endpoint]
    binary = own["y_true"].notna() & own["y_prob"].notna()
    known = own[binary | (own["risk"].notna() & own["time_days"].notna() & own["event"].notna())].drop_duplicates(KEYS)
    error = (known["y_true"].astype(float) - known["y_prob"]).abs() if binary.any() else _discordance(known)
    known = known.assign(error=error.round(6))
    order = known.loc[error.dropna().sort_values(kind="stable").index]
    middle = max(0, (len(order) - each) // 2)
    groups = {"worst": order.iloc[::-1][:each], "median": order.iloc[middle : middle + each], "best": order[:each]}
    parts = [rows.assign(chosen=name) for name, rows in groups.items()]
    return pd.concat(parts).drop_duplicates(KEYS).reset_index(drop=True)


def _discordance(rows: pd.DataFrame) -> pd.Series:
    """Share of each row's comparable pairs that are in the wrong order; NaN where it has none."""
    days, risk = rows["time_days"].to_numpy(float), rows["risk"].to_numpy(float)
    event = rows["event"].to_numpy(float) == 1
    first = (days[:, None] < days[None, :]) & event[:, None]  # the row's event came before the column's time
    wrong = np.where(risk[:, None] == risk[None, :], 0.5, (risk[:, None] < risk[None, :]).astype(float)) * first
    pairs = first.sum(axis=1) + first.sum(axis=0)
    share = (wrong.sum(axis=1) + wrong.sum(axis=0)) / np.where(pairs > 0, pairs, np.nan)
    return pd.Series(share, index=rows.index)


def explain_cohort(
    train: Path,
    frozen: Mapping[str, Any],
    subjects: pd.DataFrame,
    crops: pd.DataFrame,
    scores: pd.DataFrame,
    out: Path,
    *,
    each: int,
    seed: int,
) -> pd.DataFrame:
    """Write ``cam.tsv`` and one picture a case for a cohort: a map of every head by every method.

    A head of a binary endpoint is explained towards the answer that it gave (the event from a probability of 0.5, else
    its absence), one of a survival endpoint towards a higher risk; ``explains`` says which. A map that cannot be made,
    or that says nothing, is a row with its reason. A training case is explained by the networks of the fold that has
    not seen it, every other one by the final ones.

    Parameters
    ----------
    train : Path
        Training folder, with its folds; beside that of a choice lie those of its candidates.
    frozen : mapping
        What was frozen of it: of a choice, ``in_folds`` says whose networks judged a fold.
    subjects, crops, scores : pandas.DataFrame
        Enrolled cases, table of crops, and the network's scores of this cohort.
    out : Path
        Folder to fill.
    each : int
        Cases of each group.
    seed : int
        Seed of the randomised weights.
    """
    endpoint = load_network(train / "model").head
    chosen = choose_cases(scores, endpoint, each)
    models: dict[Path, NetworkModel] = {}
    rows = []
    for place, record in enumerate(chosen.to_dict("records")):
        case = {str(name): value for name, value in record.items()}
        folder = _judge(train, frozen.get("in_folds", {}), case)
        if folder not in models:
            models[folder] = load_network(folder)
        model = models[folder]
        one = subjects.merge(pd.DataFrame([{key: case[key] for key in KEYS}]), on=KEYS)
        x, found = model.inputs(one, crops)
        row = model.rows(x, found)
        answers, _ = model.scores(model.outputs(row))
        results: dict[tuple[str, str], Explanation] = {}
        for head, about in model.heads.items():
            sign = -1.0 if not about.survival and answers[head][0] < 0.5 else 1.0
            told = "higher risk" if about.survival else ("event" if sign > 0 else "no event")
            for method in METHODS:
                result = explain(model.networks, row, head, sign, seed + 1000 * place, method)
                results[head, method] = result
                rows.append({
                    **case, "endpoint": head, "explains": told, "method": method,
                    "energy_in_mask": result.energy_in_mask, "mask_fraction": result.mask_fraction,
                    "randomised_correlation": result.randomised_correlation, "reason": result.reason,
                })  # fmt: skip
        name = case_file(case["subject"], case["session"], "cam", desc=case["chosen"], ext=".png").name
        _draw(row, found.channels, results, case, out / name)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    write_table(table, out / "cam.tsv", sort_by=["chosen", *KEYS, "endpoint", "method"])
    return table


def deep_features(
    model: NetworkModel, subjects: pd.DataFrame, crops: pd.DataFrame, unseen: pd.DataFrame
) -> pd.DataFrame:
    """Deep features of cases by the final networks: ``seed<n>_<k>``; comparable between cases of one seed only.

    ``kind`` is ``frozen`` for the cases whose keys `unseen` holds, which the final networks have not seen, and
    ``apparent`` for those that taught them.
    """
    x, found = model.inputs(subjects, crops)
    have = found.present
    outputs = model.outputs(model.rows(x[have], found))
    named = {
        f"seed{n}_{k:03d}": out["features"][:, k]
        for n, out in enumerate(outputs)
        for k in range(out["features"].shape[1])
    }
    keys = subjects.reset_index(drop=True).loc[have, KEYS].reset_index(drop=True)
    new = pd.MultiIndex.from_frame(keys).isin(pd.MultiIndex.from_frame(unseen[KEYS]))
    keys["kind"] = np.where(new, ScoreKind.FROZEN.value, ScoreKind.APPARENT.value)
    return pd.concat([keys, pd.DataFrame(named).astype("float64")], axis=1)


def _judge(train: Path, in_folds: Mapping[str, str], case: Mapping[str, Any]) -> Path:
    """Folder of the networks that have judged a case and have not seen it."""
    if case["kind"] != ScoreKind.OOF.value:
        return train / "model"
    place = f"{int(case['repeat'])}-{int(case['fold'])}"
    folder = train.parent / in_folds.get(place, train.name) / f"fold-{place}" / "model"
    if not folder.is_dir():
        raise DataAbsentError("the networks of a fold are not there", where=folder, todo="run train_fold again")
    return folder


def _draw(
    row: Rows,
    channels: Sequence[str],
    results: Mapping[tuple[str, str], Explanation],
    case: Mapping[str, Any],
    path: Path,
) -> None:
    """One picture: every channel in the slice with most of the region, its outline, and the maps over the first one."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    mask = row.masks[0, 0].cpu().numpy() > 0.5
    k = int(mask.sum(axis=(1, 2)).argmax())
    images = row.images[0].cpu().numpy()
    titles = list(channels) or [f"channel {channel + 1}" for channel in range(len(images))]
    heads = list(dict.fromkeys(head for head, _ in results))
    methods = list(dict.fromkeys(method for _, method in results))
    # One endpoint: everything in a row. Several: the channels in the first column, beside them a row of maps for each.
    several = len(heads) > 1
    rows = max(len(titles), len(heads)) if several else 1
    first = 1 if several else len(titles)
    size = (2.3 * (first + len(methods)), 0.7 + 2.3 * rows)
    figure, axes = plt.subplots(rows, first + len(methods), figsize=size, squeeze=False, layout="constrained")

    def show(axis: Axes, image: np.ndarray, title: str) -> None:
        low, high = np.percentile(image, [1, 99])
        axis.imshow(image[k], cmap="gray", vmin=low, vmax=high)
        axis.contour(mask[k], [0.5], colors="#4dd0a8", linewidths=1.2)
        axis.set_title(title, fontsize=8)

    for axis in axes.flat:
        axis.set_axis_off()
    for place, (image, title) in enumerate(zip(images, titles, strict=True)):
        show(axes[place, 0] if several else axes[0, place], image, title)
    for (head, method), result in results.items():
        axis = axes[heads.index(head), first + methods.index(method)]
        energy = "undefined" if result.energy_in_mask is None else f"{result.energy_in_mask:.2f}"
        name = f"{NAMES[method]}, {head}" if several else NAMES[method]
        show(axis, images[0], f"{name}\nin mask {energy}, chance {result.mask_fraction:.2f}")
        axis.imshow(result.cam[k] / (float(result.cam.max()) or 1.0), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    figure.suptitle(f"{case['chosen']}: {_answer(case)}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part.{path.name}")
    figure.savefig(part, dpi=110, metadata={"Software": None})
    plt.close(figure)
    part.replace(path)


def _answer(case: Mapping[str, Any]) -> str:
    """Outcome and score of a case in words."""
    if pd.notna(case["y_prob"]):
        return f"label {int(case['y_true'])}, probability {case['y_prob']:.2f}"
    return f"{'event' if case['event'] == 1 else 'no event'} at {case['time_days']:.0f} days, risk {case['risk']:.2f}"
