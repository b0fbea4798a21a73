"""Networks on disk: safetensors for numbers, JSON for words; neither can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hccflow.errors import FreezeError


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write tensors whole, with a small JSON text in the file's own header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    header = {"about": json.dumps(about, sort_keys=True)} if about is not None else None
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part, metadata=header)
    part.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors of a file and its JSON text.

    Raises
    ------
    FreezeError
        The file is not there or not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(  # noqa: SIM118 - not a mapping
                (file.metadata() or {}).get("about", "{}")
            )
    except (SafetensorError, OSError) as error:
        raise FreezeError(
            "the weights cannot be read", where=path.name, found=error, todo="restore the file, or train again"
        ) from error


def load_weights(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, where: object) -> None:
    """Put weights into a network of exactly their shape.

    Raises
    ------
    FreezeError
        They belong to another network.
    """
    own = network.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or sorted(n for n in own if own[n].shape != tensors[n].shape)
    if wrong:
        raise FreezeError("the weights belong to another network", where=where, found=wrong[0], todo="train again")
    network.load_state_dict(dict(tensors))
