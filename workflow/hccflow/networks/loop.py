"""The training loop: one network on given rows, for given epochs or until other rows say stop; resumable.

An epoch is a function of the state before it and of its own number: every random draw comes from a stream named by
seed and epoch. A killed training goes on from its last epoch and ends, on the CPU, with the same bytes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hccflow.errors import FitError
from hccflow.networks.augment import vary
from hccflow.networks.device import on_device
from hccflow.networks.heads import SEGMENTATION, Tasks
from hccflow.networks.losses import RiskMemory, TaskLoss
from hccflow.networks.pretrained import start_from
from hccflow.networks.registry import Shape, build
from hccflow.networks.state import load_weights, read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)
#: Epochs over which the loss that decides when to stop is averaged.
SMOOTH = 3
GRADIENT_NORM = 5.0
WARM_UP = 0.1
#: Options of the task weights that are learnt: they are no coefficients to shrink.
NO_DECAY = {"weight_decay": 0.0}


@dataclass(frozen=True)
class Rows:
    """Inputs and targets of rows, in memory.

    Attributes
    ----------
    images : Tensor, shape (n, channels, k, j, i)
        Z-scores.
    masks : Tensor, shape (n, 1, k, j, i)
    clinical : Tensor, shape (n, predictors)
    labels : dict of Tensor
        By endpoint: 0 or 1, shape (n,); of a survival endpoint days and event, shape (n, 2). NaN where unknown.
    """

    images: Tensor
    masks: Tensor
    clinical: Tensor
    labels: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, places: Sequence[int] | np.ndarray) -> Rows:
        """Some of the rows."""
        where = torch.as_tensor(np.asarray(places, dtype=np.int64))
        labels = {name: values[where] for name, values in self.labels.items()}
        return Rows(self.images[where], self.masks[where], self.clinical[where], labels)

    def to(self, device: torch.device) -> Rows:
        """Move the rows to a device, the images with channels last."""
        images = self.images.to(device, memory_format=torch.channels_last_3d)
        labels = {name: values.to(device) for name, values in self.labels.items()}
        return Rows(images, self.masks.to(device), self.clinical.to(device), labels)


@dataclass
class Trained:
    """A trained network and how it went: one row of `history` for each epoch."""

    network: nn.Module
    best_epoch: int
    history: list[dict[str, Any]] = field(repr=False)


def train_network(
    shape: Shape,
    spec: Mapping[str, Any],
    tasks: Tasks,
    rows: Rows,
    stop: Rows | None,
    *,
    seed: int,
    device: torch.device,
    epochs: int | None = None,
    checkpoint: Path | None = None,
    where: str = "",
) -> Trained:
    """Train one network.

    Parameters
    ----------
    shape : Shape
    spec : mapping
        Entry ``network`` of the configuration.
    tasks : Tasks
        What it learns.
    rows : Rows
        Training rows.
    stop : Rows or None
        Rows that decide when to stop: the state after the epoch with the smallest loss on them is kept, and training
        ends when `patience` epochs were no better. The loss is the sum over all tasks, the segmentation too, with the
        weights of the configuration, also where weights are learnt, as a mean of the last `SMOOTH` epochs; of a Cox
        head it is the partial likelihood within these rows. None: train `epochs`.
    seed : int
        Names initial weights, order of rows, augmentation and dropout.
    epochs : int, optional
        Epochs to train instead of ``spec["epochs"]``; the schedule of the learning rate ends with them, at 0, since no
        row is left to find the epoch after which a network at a high rate happened to be good.
    checkpoint : Path, optional
        File for the state after each epoch; taken up when it is there.
    where : str
        Name for messages.

    Raises
    ------
    FitError
        The loss is not a number.
    """
    torch.manual_seed(seed)
    network: nn.Module = build(shape, spec)
    start_from(network, spec)
    network = on_device(network, device)
    task = TaskLoss(tasks).to(device)
    learnt = [{"params": list(p), **more} for p, more in ((network.parameters(), {}), (task.parameters(), NO_DECAY))]
    optimiser = torch.optim.AdamW(learnt, lr=spec["learning_rate"], weight_decay=spec["weight_decay"])
    history: list[dict[str, Any]] = []
    best: dict[str, Tensor] = {}
    risks: dict[str, Tensor] = {}
    if checkpoint is not None and checkpoint.is_file():
        history, best, risks = _restore(network, task, optimiser, checkpoint)
        log.info("%s: going on after epoch %d", where, len(history))
    last = spec["epochs"] if epochs is None else epochs
    rows, stop = rows.to(device), stop.to(device) if stop is not None else None
    cox = [name for name, head in tasks.heads.items() if head.loss == "cox"]
    memories = {name: RiskMemory(rows.labels[name], risks.get(name)) for name in cox}
    while len(history) < last and not _done(history, spec["patience"]):
        epoch = len(history)
        losses = _epoch(
            network, task, optimiser, rows, memories, spec, np.random.SeedSequence([seed, epoch]), epoch, last, where
        )
        row: dict[str, Any] = {"epoch": epoch + 1, **{f"train_{name}": value for name, value in losses.items()}}
        if tasks.learnt:
            row |= {f"weight_{name}": weight for name, weight in task.weights().items()}
        if stop is not None:
            found = judge(network, task, stop, spec["batch_size"])
            row |= {f"stop_{name}": value for name, value in found.items()}
            row["stop_loss"] = sum(weight * found[name] for name, weight in tasks.weights.items())
        history.append(row)
        if stop is not None and best_epoch(history) == epoch + 1:
            best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if checkpoint is not None:
            _save(network, task, optimiser, best, memories, history, checkpoint)
    if stop is not None:
        load_weights(network, best, where=where)
    return Trained(network.eval(), best_epoch(history) if stop is not None else len(history), history)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up over the first tenth of all steps, then a cosine to 0."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    """Epoch with the smallest smoothed loss of the tasks on the stopping rows, the first of equal ones; from 1."""
    losses = np.array([row["stop_loss"] for row in history])
    smooth = [losses[max(0, i + 1 - SMOOTH) : i + 1].mean() for i in range(len(losses))]
    return int(np.argmin(smooth)) + 1


def _done(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    stops = bool(history) and "stop_loss" in history[0]
    return stops and len(history) - best_epoch(history) >= patience


def batches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows in random order in batches of nearly equal size, none of a single row where there are more."""
    count = max(1, math.ceil(n / size))
    while count > 1 and n // count < 2:
        count -= 1
    return np.array_split(rng.permutation(n), count)


def _epoch(
    network: nn.Module,
    task: TaskLoss,
    optimiser: torch.optim.Optimizer,
    rows: Rows,
    memories: Mapping[str, RiskMemory],
    spec: Mapping[str, Any],
    stream: np.random.SeedSequence,
    epoch: int,
    epochs: int,
    where: str,
) -> dict[str, float]:
    rng = np.random.default_rng(stream)
    torch.manual_seed(int(stream.generate_state(1)[0]))
    network.train()
    parts = batches(len(rows), spec["batch_size"], rng)
    sums: dict[str, float] = {}
    for number, places in enumerate(parts):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(spec["learning_rate"], epoch * len(parts) + number, epochs * len(parts))
        batch = rows.take(places)
        images, masks = vary(batch.images, batch.masks, spec, rng)
        with autocast(images.device):
            outputs = network(images.contiguous(memory_format=torch.channels_last_3d), batch.clinical)
        where_rows = torch.as_tensor(places, device=images.device)
        loss, losses = task(outputs, {**batch.labels, SEGMENTATION: masks}, memories, where_rows)
        if not torch.isfinite(loss):
            raise FitError(
                "the loss is not a number", where=f"{where}, epoch {epoch + 1}, batch {number + 1}",
                found={name: float(value) for name, value in losses.items()},
                todo="lower network.learning_rate, and look at the intensities of the crops",
            )  # fmt: skip
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        optimiser.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(places)
    return {name: value / len(rows) for name, value in sums.items()}


def autocast(device: torch.device) -> torch.autocast:
    """Let a GPU multiply in bfloat16 while it trains; the CPU computes in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def outputs_of(network: nn.Module, rows: Rows, size: int) -> dict[str, Tensor]:
    """Outputs for rows without augmentation, in float32 on the rows' device; of no row, arrays of no row.

    Also on a GPU nothing is multiplied in bfloat16 here: out-of-fold scores, from which the cut-offs are learnt, have
    the arithmetic of the frozen network.
    """
    network.eval()
    if not len(rows):  # not every architecture takes a batch of none: a blank row, of which nothing is kept
        images, masks, clinical = (x.new_zeros((1, *x.shape[1:])) for x in (rows.images, rows.masks, rows.clinical))
        return {name: out[:0] for name, out in outputs_of(network, Rows(images, masks, clinical, {}), size).items()}
    parts = []
    for start in range(0, len(rows), size):
        part = rows.take(range(start, min(start + size, len(rows))))
        parts.append(network(part.images, part.clinical))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def judge(network: nn.Module, task: TaskLoss, rows: Rows, size: int) -> dict[str, float]:
    """Loss of each task on rows that did not teach."""
    _, losses = task(outputs_of(network, rows, size), {**rows.labels, SEGMENTATION: rows.masks})
    return {name: float(value) for name, value in losses.items()}


def _save(
    network: nn.Module,
    task: TaskLoss,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    memories: Mapping[str, RiskMemory],
    history: list[dict[str, Any]],
    path: Path,
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    tensors |= {f"task.{name}": tensor for name, tensor in task.state_dict().items()}
    tensors |= {f"risks.{name}": memory.risks for name, memory in memories.items()}
    for place, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{place}.{name}": tensor for name, tensor in values.items()}
    write_checkpoint(tensors, {"history": history}, path)


def _restore(
    network: nn.Module, task: TaskLoss, optimiser: torch.optim.Optimizer, path: Path
) -> tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Tensor]]:
    tensors, about = read_checkpoint(path)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}, "task": {}, "risks": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        groups[kind][rest] = tensor
    load_weights(network, groups["network"], where=path.name)
    load_weights(task, groups["task"], where=path.name)
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimiser"].items():
        place, key = name.split(".", 1)
        moments.setdefault(int(place), {})[key] = tensor
    optimiser.load_state_dict({**state, "state": moments})
    return about["history"], groups["best"], groups["risks"]
