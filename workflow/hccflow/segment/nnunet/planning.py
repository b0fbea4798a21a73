"""Fingerprint, plan and preprocess a data set by nnU-Net's own code, in a work folder."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nnunetv2
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from hccflow.errors import ConfigError, HccflowError
from hccflow.segment.nnunet.shim import DATASET, environment
from hccflow.tables import write_text

#: Our own small configuration in the plans, and its twin whose patch is the whole volume, for prediction: one pass
#: instead of 27 windows, and one small patch on one thread leaves torch's fast path for convolutions.
TINY = "tiny"
TINY_WHOLE = "tiny_whole"
#: Patch and batch of the tiny configuration. Steps teach more than voxels: 150 steps of two such patches reach a tumour
#: Dice of 0.90 on the phantom, 100 steps of two whole volumes, which take longer, 0.60.
TINY_PATCH = (24, 48, 48)
TINY_BATCH = 2
TINY_FEATURES = [8, 16, 32, 64]
#: Longest edge of one pass of the prediction, so that a real CT fits into memory.
TINY_LARGEST = 128
#: Voxels drawn for the statistics of the intensities. nnU-Net draws a hundred million, with replacement, however small
#: the data set is: 10 s and 2.5 GB for a phantom that has not a tenth of them.
TINY_SAMPLE = 1e6


def plan_dataset(work: Path, *, planner: str, configuration: str, jobs: int = 1) -> dict[str, Any]:
    """Fingerprint, plan and preprocess the data set below ``work/raw`` into ``work/preprocessed``.

    Parameters
    ----------
    work : Path
        Work folder with ``raw/Dataset001_hccflow``.
    planner : str
        Class of nnU-Net's experiment planner.
    configuration : str
        Configuration to preprocess: one of nnU-Net's, or ``tiny``, which is derived from ``3d_fullres``.
    jobs : int
        Worker processes.

    Returns
    -------
    dict
        The plans. ``dataset.json``, ``dataset_fingerprint.json`` and ``plans.json`` lie below
        ``work/preprocessed/Dataset001_hccflow``.
    """
    with environment(work):
        fingerprint = DatasetFingerprintExtractor(DATASET, jobs)
        fingerprint.show_progress_bar = False
        if configuration == TINY:
            fingerprint.num_foreground_voxels_for_intensitystats = TINY_SAMPLE
        guarded(lambda: fingerprint.run(overwrite_existing=True), "the fingerprint")
        plans = find_planner(planner)(DATASET).plan_experiment()
        name = plans["plans_name"]
        folder = work / "preprocessed" / DATASET
        (folder / f"{name}.json").unlink()
        plans = json.loads(json.dumps(plans))
        if configuration == TINY:
            plans["configurations"] = tiny_configurations(plans)
        elif configuration not in plans["configurations"]:
            raise ConfigError(
                f"nnU-Net has planned no configuration '{configuration}' for these images",
                where="config.segment.configuration", expected=", ".join(plans["configurations"]),
            )  # fmt: skip
        write_text(folder / "plans.json", json.dumps(plans, indent=1) + "\n")
        preprocessor = PlansManager(plans).get_configuration(configuration).preprocessor_class(verbose=False)
        preprocessor.show_progress_bar = False
        guarded(lambda: preprocessor.run(DATASET, configuration, "plans", num_processes=jobs), "preprocessing")
    return plans


def find_planner(name: str) -> type[ExperimentPlanner]:
    """Look up nnU-Net's experiment planner of this name, or say that there is none."""
    base = Path(nnunetv2.__path__[0]) / "experiment_planning"
    found = recursive_find_python_class(str(base), name, current_module="nnunetv2.experiment_planning")
    if found is None:
        raise ConfigError(
            f"nnU-Net has no planner '{name}'", where="config.segment.planner",
            expected="for example ExperimentPlanner, nnUNetPlannerResEncM",
        )  # fmt: skip
    return found


def tiny_configurations(plans: Mapping[str, Any]) -> dict[str, Any]:
    """Our small configuration, for training and for prediction.

    Resampling and normalisation of the images are what nnU-Net has planned. The network is a plain U-Net with one
    convolution a stage that halves the slices' plane first, so that thick slices are not pooled away. It normalises by
    batch: the statistics of an instance depend on the field of view, so a network that learns on patches and predicts
    whole volumes moves every border (livers came out 11 to 13 % too large, tumours 7 % too small).
    """
    base = copy.deepcopy(plans["configurations"]["3d_fullres"])
    planned = base["architecture"]["arch_kwargs"]
    n = len(TINY_FEATURES)
    whole = [min(8 * math.ceil(size / 8), TINY_LARGEST) for size in base["median_image_size_in_voxels"]]
    kwargs = {
        **planned,
        "n_stages": n,
        "features_per_stage": TINY_FEATURES,
        "kernel_sizes": [[3, 3, 3]] * n,
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1] * n,
        "n_conv_per_stage_decoder": [1] * (n - 1),
        "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",
    }
    kwargs.pop("n_blocks_per_stage", None)
    tiny = {
        **base,
        "data_identifier": TINY,
        "batch_size": TINY_BATCH,
        "patch_size": [min(pair) for pair in zip(TINY_PATCH, whole, strict=True)],
        "architecture": {
            **base["architecture"],
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": kwargs,
        },
    }
    return {TINY: tiny, TINY_WHOLE: {"inherits_from": TINY, "patch_size": whole}}


def guarded(
    call: Callable[[], object], what: str, todo: str = "run the same command again with fewer cores or more memory"
) -> None:
    """Run a part of nnU-Net that uses worker processes; a killed worker becomes one clear message.

    nnU-Net and batchgenerators tell it by a RuntimeError in several wordings, all of which name the worker; any other
    error stays what it is.
    """
    try:
        call()
    except RuntimeError as error:
        if "background worker" not in str(error):
            raise
        raise HccflowError(
            f"a worker process was killed during {what}", expected="enough memory for the worker processes", todo=todo
        ) from error
