"""A network on the study's split: one fold a job, then the final fit, its freeze, and all folds together."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, LeakageError, TableError
from hccflow.freeze import split_digest
from hccflow.ids import ScoreKind
from hccflow.models.encoding import KEYS, Encoding
from hccflow.models.fold import FITS, Development
from hccflow.models.targets import Target
from hccflow.networks.crops import Crops, read_crops, view
from hccflow.networks.device import choose_device, describe_device, prepare
from hccflow.networks.heads import Tasks, tasks_of
from hccflow.networks.model import Fitted, fit_network
from hccflow.networks.options import check_network
from hccflow.networks.overlap import segmentation_dice
from hccflow.networks.pretrained import origin
from hccflow.provenance import code_digest, digest_of
from hccflow.tables import read_table, write_table, write_text
from hccflow.train.training import Training, conclude, development, judge, placed

log = logging.getLogger(__name__)
#: Dice of the networks' own segmentation, in the folder of a fold.
DICE = "dice.tsv"
LIBRARIES = ("numpy", "pandas", "torch", "monai", "segmentation-models-pytorch", "safetensors")


def train_fold(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    crops: pd.DataFrame,
    *,
    repeat: int,
    fold: int,
    out: Path,
    work: Path,
    threads: int = 1,
) -> None:
    """Train the networks of one fold and write what they say about its judged rows.

    Parameters
    ----------
    name, settings, subjects, split
        As for `hccflow.train.training.train`.
    crops : pandas.DataFrame
        Table of `hccflow.networks.croptable.crop_table`.
    repeat, fold : int
        Fold of the split, from 0.
    out : Path
        Gets ``model/``, ``predictions.tsv``, ``fits.tsv``, ``history.tsv``, ``dice.tsv`` and, last,
        ``fold.json``.
    work : Path
        Folder for checkpoints; those of a killed job with the same inputs are taken up.

    Raises
    ------
    ConfigError
        No such fold, or a GPU is demanded and there is none.
    FitError
        A training fold has one class, or the loss is not a number.
    """
    rows, tasks, encoding, images, about = _open(name, settings, subjects, split, crops, threads)
    wanted = [part for part in rows.folds() if (part[0].repeat, part[0].fold) == (repeat, fold)]
    if not wanted:
        raise ConfigError("no such fold in the split", where="--fold", found=f"repeat {repeat}, fold {fold}")
    training, places, held = wanted[0]
    folder = _work(work, about, f"{repeat}-{fold}")
    fitted = fit_network(training, settings["models"][name]["network"], tasks, encoding, images, work=folder)
    unseen = fitted.model.rows(held, images)
    means, spread = fitted.model.scores(fitted.model.outputs(unseen))
    cases = rows.rows.loc[places, KEYS].assign(kind=ScoreKind.OOF.value, repeat=repeat, fold=fold)
    scores = judge(rows, training, places, means).drop(columns="place")
    _write_model(fitted, out)
    write_table(scores, out / "predictions.tsv")
    write_table(pd.DataFrame(rows.log, columns=FITS), out / "fits.tsv")
    write_table(fitted.history.assign(repeat=repeat, fold=fold), out / "history.tsv")
    write_table(segmentation_dice(fitted.model, unseen, cases), out / DICE, sort_by=KEYS)
    facts = {
        **about, "repeat": repeat, "fold": fold, "best_epochs": fitted.best_epochs,
        "seed_sd": spread, "selected": fitted.model.selected, "device": describe_device(fitted.model.device),
    }  # fmt: skip
    write_text(out / "fold.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)


def train_network(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    crops: pd.DataFrame,
    folds: Sequence[Path],
    *,
    work: Path,
    threads: int = 1,
) -> tuple[Training, pd.DataFrame]:
    """Fit the final network on all training rows and put it together with its folds.

    It trains for the median of the folds' best epochs: no row is left to say when to stop.

    Returns
    -------
    Training
        For `hccflow.train.training.write_training`.
    history : pandas.DataFrame
        Losses of every epoch of every fold and seed, and of the final fit.

    Raises
    ------
    LeakageError
        A fold was trained on another split, other subjects, or with other settings.
    TableError
        A fold of the split is missing.
    """
    rows, tasks, encoding, images, about = _open(name, settings, subjects, split, crops, threads)
    facts = [json.loads((folder / "fold.json").read_text(encoding="utf-8")) for folder in folds]
    for folder, fact in zip(folds, facts, strict=True):
        odd = [key for key, value in about.items() if fact.get(key) != value]
        if odd:
            raise LeakageError(
                "a fold was trained on something else", where=folder.name, expected=f"the same {odd[0]}",
                todo="train this fold again",
            )  # fmt: skip
    there = {(fact["repeat"], fact["fold"]) for fact in facts}
    wanted = {(training.repeat, training.fold) for training, _, _ in rows.folds()}
    if there != wanted:
        raise TableError(
            "the folds are not those of the split", where="--folds", expected=sorted(wanted), found=sorted(there)
        )
    scores = placed(pd.concat([read_table(folder / "predictions.tsv") for folder in folds], ignore_index=True), rows)
    for folder in folds:
        rows.log.extend(_records(folder / "fits.tsv"))

    epochs = max(1, round(float(np.median([epoch for fact in facts for epoch in fact["best_epochs"]]))))
    final_fold, folder = rows.all(), _work(work, about, f"final-{epochs}")
    spec = settings["models"][name]["network"]
    fitted = fit_network(final_fold, spec, tasks, encoding, images, epochs=epochs, work=folder)
    log.info("%s: final networks trained on %d rows for %d epochs", name, len(final_fold.y), epochs)
    used = [fact["selected"] for fact in facts]
    every = list(dict.fromkeys(n for names in [*used, fitted.model.selected] for n in names))
    selection = pd.DataFrame({
        "feature": every, "frequency": [float(np.mean([n in names for names in used])) for n in every],
        "in_final_model": [int(n in fitted.model.selected) for n in every],
    })  # fmt: skip
    judging = [fact["seed_sd"] for fact in facts if None not in fact["seed_sd"].values()]  # had a case to score
    spread = {head: round(float(np.mean([sd[head] for sd in judging])), 6) for head in tasks.heads}
    last = fitted.history.groupby("seed").last().mean()
    learnt = {str(n).removeprefix("weight_"): float(v) for n, v in last.items() if str(n).startswith("weight_")}
    more = {
        "initial_weights": origin(settings["models"][name]["network"]), "epochs": epochs, "seed_sd": spread,
        "task_weights": learnt or tasks.weights,
        "devices": sorted({describe_device(fitted.model.device), *(fact["device"] for fact in facts)}),
    }  # fmt: skip
    training = conclude(
        name, settings, split, rows, scores, fitted.model, final_fold, selection,
        code=code_digest("train_network"), libraries=LIBRARIES, more=more,
    )  # fmt: skip
    histories = [read_table(part / "history.tsv") for part in folds] + [fitted.history]
    shutil.rmtree(folder, ignore_errors=True)
    return training, pd.concat(histories, ignore_index=True)


def fold_dice(folds: Sequence[Path]) -> pd.DataFrame:
    """Out-of-fold Dice of the segmentation of every fold; no rows where the network does not segment."""
    return pd.concat([read_table(folder / DICE, "dice") for folder in folds], ignore_index=True)


def _open(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    crops: pd.DataFrame,
    threads: int,
) -> tuple[Development, Tasks, Encoding, Crops, dict[str, str]]:
    """Training rows with their crops, and what a fold's result depends on."""
    spec = settings["models"][name]["network"]
    check_network(settings["models"][name], settings["endpoints"], f"models.{name}")
    tasks = tasks_of(settings["models"][name], settings["endpoints"])
    prepare(choose_device(spec["device"]), threads)
    rows, encoding = development(name, settings, subjects, split, endpoints=list(tasks.heads))
    images = view(read_crops(rows.rows, crops), spec)
    rows.refuse(images.reasons)
    state = crops.sort_values(KEYS)[[*KEYS, "digest"]].to_numpy().tolist()
    own = {key: value for key, value in settings["models"][name].items() if key != "threshold"}
    predictors = encoding.encode(rows.rows, None)[0].to_numpy(float).tolist()  # a missing one is NaN in the digest too
    about = {
        "settings_digest": digest_of([settings["seed"], own]), "split_digest": split_digest(split),
        "crops_digest": digest_of(state),
        "predictors_digest": digest_of([encoding.to_json(), predictors]),
        "labels_digest": digest_of([rows.keys.tolist(), *(_numbers(target) for target in rows.targets.values())]),
    }  # fmt: skip
    return rows, tasks, encoding, images, about


def _numbers(target: Target) -> list[Any]:
    """Everything of a target, for a digest."""
    values: list[Any] = np.nan_to_num(target.array(), nan=-1).tolist()
    return values


def _work(work: Path, about: Mapping[str, str], part: str) -> Path:
    """Folder of the checkpoints of exactly these inputs and this code: nothing stale is ever resumed."""
    return work / f"{digest_of([about, code_digest('train_fold')])[:16]}-{part}"


def _write_model(fitted: Fitted, out: Path) -> None:
    part = out / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    fitted.model.save(part)
    shutil.rmtree(out / "model", ignore_errors=True)
    part.replace(out / "model")


def _records(path: Path) -> list[dict[str, Any]]:
    table = read_table(path)
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
