"""What has to be true before nnU-Net is imported or run: environment variables, seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

#: nnU-Net wants its data sets numbered; each work folder holds one.
DATASET = "Dataset001_hccflow"


def prepare_imports() -> None:
    """Say how many processes augment: 0 crashes planning, and unset nnU-Net asks the shell for the host's name."""
    os.environ.setdefault("nnUNet_n_proc_DA", "1")


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


def seed_everything(seed: int, *stream: int) -> None:
    """Seed the generators that nnU-Net draws from, which are the global ones."""
    first, second = np.random.SeedSequence([seed, *stream]).generate_state(2)
    np.random.seed(int(first))  # noqa: NPY002 - batchgenerators uses the global state
    torch.manual_seed(int(second))
