"""Masks from a frozen ensemble, through nnU-Net's predictor set up by hand: no checkpoint is ever opened."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from hccflow.networks.device import choose_device
from hccflow.segment.nnunet.trainer import find_trainer
from hccflow.segment.nnunet.weights import load_weights
from hccflow.segment.volumes import Volume


class Ensemble:
    """The networks of all folds.

    Parameters
    ----------
    folder : Path
        Folder ``model`` of the segment stage; check its freeze first.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int
        Threads of torch on the CPU.
    """

    def __init__(self, folder: Path, *, device: str = "auto", threads: int = 1) -> None:
        self.folder, self.threads = folder, threads
        self.about: dict[str, Any] = _read(folder / "model.json")
        plans, dataset = _read(folder / "plans.json"), _read(folder / "dataset.json")
        fold = _read(folder / "fold-0" / "fold.json")
        torch.set_num_threads(threads)
        plans_manager = PlansManager(plans)
        configuration = plans_manager.get_configuration(self.about["configuration"])
        heads = plans_manager.get_label_manager(dataset).num_segmentation_heads
        n_channels = determine_num_input_channels(plans_manager, configuration, dataset)
        network = find_trainer(self.about["trainer"]).build_network_architecture(
            plans_manager, configuration, n_channels, heads, enable_deep_supervision=False
        )
        with contextlib.redirect_stdout(io.StringIO()):  # it tells that a CPU is not a GPU
            self._predictor = nnUNetPredictor(device=choose_device(device, "segment.device"), allow_tqdm=False)
        self._predictor.manual_initialization(
            network, plans_manager, configuration, [], dataset, self.about["trainer"], fold["mirror_axes"]
        )
        self._weights = cache(lambda k: load_weights(network, folder / f"fold-{k}" / "weights.safetensors"))

    def probabilities(self, volume: Volume, folds: Sequence[int]) -> NDArray[np.float32]:
        """Mean class probabilities over `folds`, ``(class, k, j, i)`` on the volume's grid; class 0 is background."""
        p = self._predictor
        properties: dict[str, Any] = {"spacing": list(volume.spacing)}
        preprocessor = p.configuration_manager.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            volume.array, None, properties, p.plans_manager, p.configuration_manager, p.dataset_json
        )
        total: NDArray[np.float32] | None = None
        for fold in folds:
            p.list_of_parameters = [self._weights(fold)]
            logits = p.predict_logits_from_preprocessed_data(torch.from_numpy(data))
            _, probability = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits, p.plans_manager, p.configuration_manager, p.label_manager, properties,
                return_probabilities=True, num_threads_torch=self.threads,
            )  # fmt: skip
            total = probability if total is None else total + probability
        assert total is not None, "an ensemble has at least one fold"
        return (total / len(folds)).astype(np.float32)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
