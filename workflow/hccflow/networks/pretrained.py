"""Pretrained weights from a file that the configuration names: checked by digest, put into the encoder, and said.

Nothing is downloaded. A file of safetensors, or a checkpoint that torch opens with ``weights_only=True`` (one that
would run code is refused). The heads, a segmentation path and DenseNet's attention block always start from random
numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch raises on a file that would run code
from typing import Any

import torch
from torch import Tensor, nn

from hccflow.errors import ConfigError, DataAbsentError, FreezeError
from hccflow.networks.state import read_tensors
from hccflow.provenance import file_digest

SCRATCH = "from scratch"
#: Entries of a module's state that no training learns, and that another version may not have.
COUNTERS = ("num_batches_tracked", "relative_position_index")
#: The part of an encoder that is ours: no published network, hence no file of its weights, has it.
ADDED = "attention."


def origin(spec: Mapping[str, Any]) -> Any:
    """What ``freeze.json`` says of the weights that training began with: file name, licence and digest, or scratch."""
    given = spec.get("pretrained")
    if not given:
        return SCRATCH
    return {"file": Path(given["path"]).name, "licence": given["licence"], "sha256": given["sha256"]}


def start_from(network: nn.Module, spec: Mapping[str, Any]) -> None:
    """Put pretrained weights, if the configuration names any, into the encoder of an untrained network.

    Names are matched below the prefix that fits most of them (``encoder.``, ``module.`` or none). Every weight of the
    published encoder must be there; what the file has beyond (a classifier) is left. A first convolution for another
    number of channels gets the file's channels in turn, scaled so that the sum stays the same.

    Raises
    ------
    DataAbsentError
        There is no such file.
    ConfigError
        The digest is another.
    FreezeError
        The file cannot be opened safely, or belongs to another network.
    """
    given = spec.get("pretrained")
    if not given:
        return
    path = Path(os.path.expandvars(given["path"])).expanduser()
    if not path.is_file():
        raise DataAbsentError("the pretrained weights are not there", where="network.pretrained.path", found=path.name)
    digest = file_digest(path)
    if digest != given["sha256"]:
        raise ConfigError(
            "the pretrained weights are another file", where="network.pretrained.sha256", expected=given["sha256"],
            found=digest, todo="name the digest of the file that is meant",
        )  # fmt: skip
    whole: nn.Module = network.encoder  # type: ignore[assignment]
    encoder: nn.Module = getattr(whole, "net", whole)
    own = encoder.state_dict()
    theirs = _fitting(_read(path), own)
    needed = {name for name in own if not (name.endswith(COUNTERS) or name.startswith(ADDED))}
    lost = sorted(needed - set(theirs))
    if lost:
        raise FreezeError(
            "the pretrained weights belong to another network", where=path.name, found=f"{lost[0]} is not in the file",
            expected=f"the {len(needed)} weights of {spec['architecture']}, {len(needed) - len(lost)} are there",
            todo="match architecture, depth, size, width, blocks and dims with the file",
        )  # fmt: skip
    first = next(name for name, p in encoder.named_parameters() if p.ndim > 2)
    theirs[first] = _channels(theirs[first], own[first].shape[1])
    wrong = sorted(name for name in needed if theirs[name].shape != own[name].shape)
    if wrong:
        raise FreezeError(
            "the pretrained weights belong to another network", where=f"{path.name}, {wrong[0]}",
            expected=tuple(own[wrong[0]].shape), found=tuple(theirs[wrong[0]].shape),
        )  # fmt: skip
    encoder.load_state_dict({name: theirs[name] if name in needed else own[name] for name in own})


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise FreezeError(
            "the pretrained weights cannot be opened without running code", where=path.name,
            todo="save them as safetensors where you trust them",
        ) from error  # fmt: skip
    tensors: Any = found.get("state_dict", found.get("model", found)) if isinstance(found, dict) else {}
    return {str(name): value for name, value in dict(tensors).items() if isinstance(value, Tensor)}


def _fitting(theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by our names: below the prefix under which most names are ours."""
    prefixes = {""} | {name[: place + 1] for name in theirs for place, letter in enumerate(name) if letter == "."}
    below = {p: {n.removeprefix(p): t for n, t in theirs.items() if n.startswith(p)} for p in prefixes}
    best = max(sorted(prefixes), key=lambda p: len(set(below[p]) & set(own)))
    return below[best]


def _channels(weight: Tensor, channels: int) -> Tensor:
    """Kernel of a first convolution for another number of image channels."""
    have = weight.shape[1]
    if have == channels:
        return weight
    return weight[:, [c % have for c in range(channels)]] * (have / channels)
