"""Trainers: nnU-Net's own by name, a tiny one of ours for the phantom, and what all of them get on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from hccflow.errors import ConfigError, HccflowError
from hccflow.networks.device import importable_torchvision
from hccflow.segment.nnunet.planning import TINY, TINY_WHOLE

#: Iterations of the tiny trainer between two lines of its log.
STEPS_PER_EPOCH = 10
#: Share of the tiny trainer's epochs in which its rate rises.
WARM_UP = 0.1


class TrainingError(HccflowError):
    """A training that cannot go on."""


class WarmUp(PolyLRScheduler):
    """A rate that rises linearly over the first tenth of the epochs and then falls linearly to 0."""

    def step(self, current_step: int | None = None) -> None:
        """Set the rate of an epoch, counted from 0."""
        super().step(current_step)
        epoch = self.ctr - 1 if current_step in (None, -1) else current_step
        rise = (epoch + 1) / (1 + max(1, round(WARM_UP * self.max_steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = min(group["lr"], self.initial_lr * rise)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class TinyTrainer(nnUNetTrainer):
    """A few hundred iterations of a small network: AdamW with linear decay, no deep supervision, foreground first.

    The stock recipe (SGD, deep supervision, a third of the patches on foreground) needs thousands of iterations before
    a small tumour appears at all. Augmentation is by intensity only and draws from the seeded global generators;
    nnU-Net's own chooses one of its blurs by the clock.
    """

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # A step of AdamW moves a weight by about the rate, so 200 steps move it by 100 rates at most. At 3e-3 that is
        # too little to tell a tumour of 100 voxels from its liver: a fold of the micro phantom ended with Dice 0.
        self.initial_lr = 1e-2
        self.weight_decay = 1e-2
        self.oversample_foreground_percent = 1.0
        self.enable_deep_supervision = False
        self.num_iterations_per_epoch = STEPS_PER_EPOCH
        self.num_val_iterations_per_epoch = 1
        self.disable_checkpointing = True

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """AdamW; the rate rises and falls (`WarmUp`)."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, WarmUp(optimizer, self.initial_lr, self.num_epochs, exponent=1.0)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:  # noqa: N802 - nnU-Net's name
        """No rotation, no mirroring: patches are cut at their final size."""
        self.inference_allowed_mirroring_axes = None
        return None, False, self.configuration_manager.patch_size, None

    @staticmethod
    def get_training_transforms(*_args: Any, **_kwargs: Any) -> BasicTransform:
        """Brightness, gamma and noise: what differs between scanners."""
        steps: list[tuple[BasicTransform, float]] = [
            (MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), synchronize_channels=False), 0.2),
            (
                GammaTransform(
                    BGContrast((0.7, 1.5)), 0, synchronize_channels=False, p_per_channel=1, p_retain_stats=1
                ),
                0.2,
            ),
            (GaussianNoiseTransform(noise_variance=(0, 0.05), p_per_channel=1, synchronize_channels=True), 0.2),
        ]
        return ComposeTransforms([*(RandomTransform(step, p) for step, p in steps), RemoveLabelTansform(-1, 0)])

    def plot_network_architecture(self) -> None:
        """Not drawn."""

    def on_epoch_end(self) -> None:
        """Neither checkpoint nor picture: a killed run of half a minute starts again and ends with the same bytes."""
        self.current_epoch += 1


def find_trainer(name: str) -> type[nnUNetTrainer]:
    """Trainer class by its name in the configuration: ``tiny``, or one of nnU-Net's."""
    if name == TINY:
        return TinyTrainer
    importable_torchvision()  # the search imports every trainer
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise ConfigError(
            f"nnU-Net has no trainer '{name}'", where="config.segment.trainer",
            expected="tiny, nnUNetTrainer, nnUNetTrainer_250epochs, …", todo="check the spelling",
        ) from error  # fmt: skip


def configuration_of(segment: Mapping[str, Any], *, predict: bool = False) -> str:
    """Name of the configuration in the plans: the tiny trainer has its own, and another one to predict with."""
    if segment["trainer"] == TINY:
        return TINY_WHOLE if predict else TINY
    return segment["configuration"]


def guard(trainer_class: type[nnUNetTrainer]) -> type[nnUNetTrainer]:
    """Give a trainer whole checkpoints and a clear end when its loss is not a number.

    The class keeps its name, which nnU-Net uses for folders and checkpoints.
    """

    class Guarded(trainer_class):
        def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
            losses = np.array([float(output["loss"]) for output in train_outputs])
            if not np.isfinite(losses).all():
                raise TrainingError(
                    "the loss is not a number", where=f"fold {self.fold}, epoch {self.current_epoch}",
                    found=f"{int((~np.isfinite(losses)).sum())} of {losses.size} iterations",
                    todo="check the images' intensities; the last good checkpoint is kept and the same command resumes",
                )  # fmt: skip
            super().on_train_epoch_end(train_outputs)

        def save_checkpoint(self, filename: str) -> None:
            part = Path(f"{filename}.part")
            super().save_checkpoint(str(part))
            if part.exists():
                part.replace(filename)

    Guarded.__name__ = trainer_class.__name__
    return Guarded
