"""Train one fold: resume what a killed job has left, end in weights that cannot run code."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch raises on a foreign checkpoint
from typing import Any

import numpy as np
import pandas as pd
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from hccflow.errors import DataAbsentError, FreezeError
from hccflow.ids import Status
from hccflow.networks.device import choose_device, demand_determinism, describe_device
from hccflow.provenance import code_digest, digest_of, file_digest
from hccflow.segment.dataset import KEYS
from hccflow.segment.nnunet.planning import TINY, guarded
from hccflow.segment.nnunet.shim import DATASET, environment, seed_everything
from hccflow.segment.nnunet.trainer import STEPS_PER_EPOCH, configuration_of, find_trainer, guard
from hccflow.segment.nnunet.weights import save_weights
from hccflow.tables import read_table, subjects_digest, write_table, write_text

log = logging.getLogger(__name__)


def train_fold(
    dataset: Path, *, fold: int, segment: Mapping[str, Any], seed: int, out: Path, work: Path, threads: int = 1
) -> None:
    """Train one fold and write ``weights.safetensors``, ``log.tsv`` and ``fold.json``.

    Parameters
    ----------
    dataset : Path
        Work folder made by `hccflow.segment.nnunet.planning.plan_dataset`, with ``splits_final.json`` in place.
    fold : int
        Fold whose cases the network must not see.
    segment : mapping
        Section `segment` of the configuration.
    seed : int
        Seed of the study.
    out : Path
        Folder of the fold's results.
    work : Path
        Folder for checkpoints; what a killed job has left there for the same data and settings is taken up.
    threads : int
        Threads of torch on the CPU, and augmenting processes of a stock trainer.
    """
    tiny = segment["trainer"] == TINY
    device = choose_device(segment["device"], "segment.device")
    folder = dataset / "preprocessed" / DATASET
    if not (folder / "cases.tsv").is_file():
        raise DataAbsentError("no preprocessed data set", where=folder, todo="run hccflow segment_export")
    plans, info, splits = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("plans", "dataset", "splits_final")
    )
    torch.set_num_threads(threads)
    if tiny:
        demand_determinism(device)
    seed_everything(seed, fold)
    checkpoints = work / f"{_key(folder, segment, seed)}-fold-{fold}"
    with environment(dataset, checkpoints=checkpoints, augmenters=0 if tiny else max(1, threads)):
        trainer = build_trainer(segment, plans, info, fold, device)
        if not tiny:
            resume(trainer)
        guarded(
            trainer.run_training,
            "training",
            "run the same command again with more memory; it goes on from its last checkpoint",
        )
    save_weights(getattr(trainer.network, "_orig_mod", trainer.network), out / "weights.safetensors")
    write_table(training_log(trainer, list(segment["labels"])), out / "log.tsv")
    about = {
        "fold": fold,
        "device": describe_device(device),
        "trainer": segment["trainer"],
        "mirror_axes": trainer.inference_allowed_mirroring_axes,
        "iterations": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "cases": len(splits[fold]["train"]),
        "cases_digest": subjects_digest(splits[fold]["train"]),
    }
    write_text(out / "fold.json", json.dumps(about, indent=1) + "\n")
    shutil.rmtree(checkpoints)


def _key(folder: Path, segment: Mapping[str, Any], seed: int) -> str:
    """Another state of data, settings or code has another key, so nothing stale is ever resumed.

    The digests of the cases are part of it: nnU-Net's own files do not change with an outline that is corrected inside
    another structure.
    """
    cases = read_table(folder / "cases.tsv", "manifest")
    taught = cases.loc[cases["status"] == Status.OK.value, [*KEYS, "digest"]].to_numpy().tolist()
    files = {path.name: file_digest(path) for path in folder.glob("*.json")}
    state = {
        "segment": segment, "seed": seed, "files": files, "cases": taught, "code": code_digest("segment_train"),
    }  # fmt: skip
    return digest_of(state)[:16]


def build_trainer(
    segment: Mapping[str, Any], plans: Mapping[str, Any], info: Mapping[str, Any], fold: int, device: torch.device
) -> nnUNetTrainer:
    """Set up the trainer of one fold; call it inside `environment`, from which it takes its folders."""
    given = {**copy.deepcopy(dict(plans)), "continue_training": False}
    trainer_class = guard(find_trainer(segment["trainer"]))
    trainer = trainer_class(given, configuration_of(segment), fold, dict(info), device=device)
    if segment["trainer"] == TINY:
        trainer.num_epochs = max(1, segment["iterations"] // STEPS_PER_EPOCH)
    return trainer


def resume(trainer: nnUNetTrainer) -> None:
    """Take up the checkpoint of a killed job, if there is one.

    Raises
    ------
    FreezeError
        The checkpoint is damaged, or holds more than numbers.
    """
    folder = Path(trainer.output_folder)
    found = [folder / f"checkpoint_{name}.pth" for name in ("final", "latest")]
    for path in found:
        if not path.is_file():
            continue
        try:
            # nnU-Net opens it with all of pickle; whoever can write here must not get code run by that.
            with torch.serialization.safe_globals(_numpy_scalars()):
                torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise FreezeError(
                "the checkpoint cannot be resumed", where=path, found=str(error).splitlines()[0][:120],
                todo="delete it to train this fold from the beginning",
            ) from error  # fmt: skip
        log.info("resuming from %s", path.name)
        trainer.load_checkpoint(str(path))
        return


def _numpy_scalars() -> list[Any]:
    """What nnU-Net's log of losses needs beyond tensors."""
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    return [np.dtype, np._core.multiarray.scalar, *kinds]


def training_log(trainer: nnUNetTrainer, labels: list[str]) -> pd.DataFrame:
    """Log of a training: a row per epoch, without times."""
    values = trainer.logger.local_logger.my_fantastic_logging
    dice = values["dice_per_class_or_region"]
    columns = {
        "epoch": range(len(values["train_losses"])),
        "learning_rate": values["lrs"],
        "train_loss": values["train_losses"],
        "val_loss": values["val_losses"],
        **{f"val_pseudo_dice_{name}": [row[i] for row in dice] for i, name in enumerate(labels)},
    }
    return pd.DataFrame({name: list(column) for name, column in columns.items()}).astype({"epoch": int})
