"""Weights on disk: safetensors, which hold numbers and cannot run code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hccflow.errors import FreezeError


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights whole; a tensor that has several names (nnU-Net's decoder holds its encoder) once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(_unique(network.state_dict()), part)
    part.replace(path)


def load_weights(network: torch.nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Full state of `network` with the weights of a file, for ``load_state_dict``.

    Raises
    ------
    FreezeError
        The file cannot be read or belongs to another network.
    """
    state = network.state_dict()
    names = set(_unique(state))
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FreezeError("the weights cannot be read", where=path, todo="restore the file, or train again") from error
    wrong = names ^ set(given) or {name for name in names if given[name].shape != state[name].shape}
    if wrong:
        raise FreezeError("the weights belong to another network", where=path, found=sorted(wrong)[0])
    owner = {_place(state[name]): name for name in sorted(names)}
    return {name: given[owner[_place(tensor)]] for name, tensor in state.items()}


def _place(tensor: torch.Tensor) -> tuple[int, tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape)


def _unique(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One name per tensor, the first in alphabetical order, on the CPU."""
    kept: dict[tuple[int, tuple[int, ...]], str] = {}
    for name in sorted(state):
        kept.setdefault(_place(state[name]), name)
    return {name: state[name].detach().cpu().contiguous() for name in kept.values()}
