"""What has to be true before nnU-Net is imported or run: torchvision, environment variables, device, seeds."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hccflow.errors import ConfigError

#: nnU-Net wants its data sets numbered; each work folder holds one.
DATASET = "Dataset001_hccflow"
#: Kept alive: the operators' definitions go away with the object.
_library: list[Any] = []


def prepare_imports() -> None:
    """Make torchvision importable where its compiled operators do not fit torch, and silence nnU-Net's path warnings.

    A torchvision wheel built for CUDA beside a CPU build of torch fails with "operator torchvision::nms does not
    exist", and with it nnU-Net's look-up of trainers by name. The operators themselves are never called, so their
    schemas are enough. Nothing changes where torchvision loads.
    """
    os.environ.setdefault(
        "nnUNet_n_proc_DA", "1"
    )  # 0 crashes planning, and unset it asks the shell for the host's name
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.append(library)
    importlib.import_module("torchvision")


@contextmanager
def environment(dataset: Path, *, checkpoints: Path | None = None, augmenters: int = 1) -> Iterator[None]:
    """Point nnU-Net at its folders: ``raw`` and ``preprocessed`` below `dataset`, and one for checkpoints.

    ``augmenters=0`` is its single-threaded augmenter, the only one that can be seeded.
    """
    folders = {"raw": dataset / "raw", "preprocessed": dataset / "preprocessed"}
    folders["results"] = checkpoints or dataset / "results"
    wanted = {f"nnUNet_{name}": str(path.resolve()) for name, path in folders.items()}
    wanted["nnUNet_n_proc_DA"] = str(augmenters)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def choose_device(wanted: str) -> torch.device:
    """Device by its name in the configuration: ``auto`` takes a GPU where there is one.

    Raises
    ------
    ConfigError
        ``cuda`` is demanded and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "the study demands a GPU and none is usable here", where="config.segment.device", expected="a CUDA device",
            found=f"torch {torch.__version__} sees none",
            todo="run on a machine with a GPU, install the CUDA build of torch, or set segment.device to auto or cpu",
        )  # fmt: skip
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def seed_everything(seed: int, *stream: int) -> None:
    """Seed the generators that nnU-Net draws from, which are the global ones."""
    first, second = np.random.SeedSequence([seed, *stream]).generate_state(2)
    np.random.seed(int(first))  # noqa: NPY002 - batchgenerators uses the global state
    torch.manual_seed(int(second))
