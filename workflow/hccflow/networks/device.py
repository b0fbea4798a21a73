"""Where networks run: one function decides, and says so when it cannot."""

from __future__ import annotations

import torch

from hccflow.errors import ConfigError


def choose_device(wanted: str) -> torch.device:
    """Device of the setting ``device``: auto takes a GPU where there is one.

    Raises
    ------
    ConfigError
        The setting is cuda and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError(
            "the configuration demands a GPU and this machine shows none", where="network.device", expected="cuda",
            found="cpu only", todo="run on a machine with a GPU, or set device: auto",
        )  # fmt: skip
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def prepare(device: torch.device, threads: int) -> None:
    """Threads, and repeatable kernels: bit by bit on the CPU, as far as cuDNN goes on a GPU."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a search for bugs that costs a tenth of the time
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
