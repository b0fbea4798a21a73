"""Where networks run: one function decides, and says so when it cannot."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hccflow.errors import ConfigError

#: Where Linux tells the version of NVIDIA's kernel driver, which torch does not.
DRIVER = Path("/proc/driver/nvidia/version")
#: Kept alive: the operators' definitions go away with the object.
_library: list[Any] = []


def importable_torchvision() -> None:
    """Make torchvision importable where its compiled operators do not fit torch; MONAI, timm and nnU-Net need it.

    A torchvision wheel built for CUDA beside a CPU build of torch fails with "operator torchvision::nms does not
    exist". The operators themselves are never called, so their schemas are enough. Nothing changes where torchvision
    loads.
    """
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


def choose_device(wanted: str, where: str = "network.device") -> torch.device:
    """Device of a setting ``device``: auto takes a GPU where there is one.

    Parameters
    ----------
    wanted : str
        ``auto``, ``cpu`` or ``cuda``.
    where : str
        The setting's place in the configuration, for the message.

    Raises
    ------
    ConfigError
        The setting is cuda and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError(
            "the configuration demands a GPU and this machine shows none", where=where, expected="cuda",
            found=f"torch {torch.__version__} sees none",
            todo="run on a machine with a GPU, install the CUDA build of torch, or set device: auto",
        )  # fmt: skip
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def describe_device(device: torch.device) -> str:
    """Hardware for the record: ``CPU``, or a GPU with the versions of CUDA, cuDNN and its driver."""
    if device.type == "cpu":
        return "CPU"
    text = DRIVER.read_text(encoding="utf-8") if DRIVER.is_file() else ""
    driver = re.search(r"\b\d+\.\d+(\.\d+)*\b", text)
    told = driver.group() if driver else "unknown"
    name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
    return f"{name}, CUDA {torch.version.cuda}, cuDNN {cudnn}, driver {told}"


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device and lay out its convolutions with channels last, in two and in three dimensions."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    network.to(device)
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
    return network


def demand_determinism(device: torch.device) -> None:
    """Refuse kernels on the CPU that do not repeat bit by bit.

    Not by `torch.use_deterministic_algorithms`: it switches the same and tells torch's compiler too, whose import takes
    a second of every job; nothing here is compiled.
    """
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")


def prepare(device: torch.device, threads: int) -> None:
    """Threads, float32 as such, and repeatable kernels: bit by bit on the CPU, as far as cuDNN goes on a GPU."""
    torch.set_num_threads(threads)
    demand_determinism(device)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a search for bugs that costs a tenth of the time
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # else a GPU scores with convolutions of ten bits
