"""Networks on disk: safetensors for numbers, JSON for words; neither can run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hccflow.errors import FreezeError


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path, header: Mapping[str, str] | None = None) -> None:
    """Write tensors whole, with texts in the file's own header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(_plain(tensors), part, metadata=dict(header) if header is not None else None)
    part.replace(path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file.

    Raises
    ------
    FreezeError
        The file is not there or not whole.
    """
    try:
        return _read(path)[0]
    except (SafetensorError, OSError) as error:
        raise FreezeError(
            "the weights cannot be read", where=path.name, found=error, todo="restore the file, or train again"
        ) from error


def write_checkpoint(tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any], path: Path) -> None:
    """Write the state of a training whole: tensors, a small JSON text, and a digest of both.

    What is frozen has its digest in ``freeze.json``; beside a checkpoint lies nothing that could notice a flipped bit.
    """
    plain, text = _plain(tensors), json.dumps(about, sort_keys=True)
    write_tensors(plain, path, {"about": text, "digest": _digest(plain, text)})


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors of a checkpoint and its JSON text.

    Raises
    ------
    FreezeError
        It is not there, not whole, or not what was written.
    """
    found: object = "not the bytes that were written"
    try:
        tensors, header = _read(path)
        text = header.get("about", "")
        if header.get("digest") == _digest(tensors, text):
            return tensors, json.loads(text)
    except (SafetensorError, OSError) as error:
        found = error
    raise FreezeError(
        "the checkpoint cannot be resumed", where=path, found=found,
        todo="delete it to train this network from the beginning",
    )  # fmt: skip


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors of a file and the texts of its header."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - not a mapping


def _digest(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
