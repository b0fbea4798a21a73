"""Steps a second of every entry of the registry, as it trains in a study.

    python benchmarks/network_speed.py                     # small sizes, on the CPU
    python benchmarks/network_speed.py --full              # the published widths, for a GPU
    python benchmarks/network_speed.py --device cuda --full

A step is a batch of two channels through augmentation, forward, loss, backward and AdamW, by the training loop's own
code (on a GPU in bfloat16, channels last). The first step is left out. `ratio` is the time of a step over that of the
fastest entry. One thread on the CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hccflow.networks import loop
from hccflow.networks.architectures import ARCHITECTURES, option
from hccflow.networks.crops import Crops, view
from hccflow.networks.device import choose_device, prepare
from hccflow.networks.heads import tasks_of
from hccflow.networks.registry import Shape
from hccflow.tables import write_table

CUBE, SLAB, BATCH = (32, 32, 16), (64, 64, 16), 8
#: Options of each entry: small, and as published.
SMALL: list[dict[str, Any]] = [
    {"architecture": "multitask_encoder", "width": 6},
    {"architecture": "multitask_encoder", "width": 6, "dims": 2},
    {"architecture": "unetpp_efficientnet"},
    {"architecture": "resnet", "width": 16, "depth": 10},
    {"architecture": "resnet", "width": 16, "depth": 50, "dims": 2},
    {"architecture": "resnet", "width": 16, "depth": 50, "dims": 2.5},
    {"architecture": "densenet", "width": 16, "blocks": [2, 4, 4]},
    {"architecture": "densenet", "width": 16, "blocks": [2, 4, 4], "dims": 2},
    {"architecture": "efficientnet", "dims": 2},
    {"architecture": "efficientnet"},
    {"architecture": "swin", "width": 24, "blocks": [2, 2, 2, 2], "dims": 2},
    {"architecture": "swin", "width": 24, "blocks": [2, 2, 2, 2]},
]
OTHER = ("architecture", "dims")
FULL = [{name: value for name, value in spec.items() if name in (*OTHER, "depth")} for spec in SMALL]


def measure(own: dict[str, Any], steps: int, device: torch.device) -> dict[str, Any]:
    """Train one entry for some steps and say how long they took."""
    size = CUBE if option(own, "dims") == 3 else SLAB
    spec = {
        **own, "crop": "box", "augment": "basic", "epochs": steps + 1, "patience": steps + 1, "batch_size": BATCH,
        "learning_rate": 0.001, "weight_decay": 0.01, "dropout": 0.2, "seeds": 1, "device": device.type,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    images = torch.tensor(rng.normal(size=(BATCH, 2, *size[::-1])), dtype=torch.float32)
    masks = (torch.nn.functional.avg_pool3d(images[:, :1], 5, 1, 2) > 0).float()
    seen = view(Crops(images, masks, ("",) * BATCH), spec)
    labels = {"response": torch.arange(BATCH).remainder(2).float()}
    rows = loop.Rows(seen.images, seen.masks, torch.zeros(BATCH, 0), labels)
    shape = Shape(2, tuple(seen.images.shape[:1:-1]), 0, {"response": 1})
    tasks = tasks_of({"endpoint": "response", "network": spec}, {"response": {"kind": "binary"}})
    ends: list[float] = []
    original = loop._epoch

    def timed(*args: Any) -> Any:
        found = original(*args)
        if device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter() if device.type == "cuda" else time.process_time())
        return found

    loop._epoch = timed
    try:
        trained = loop.train_network(shape, spec, tasks, rows, None, seed=0, device=device)
    finally:
        loop._epoch = original
    weights = sum(p.numel() for p in trained.network.parameters())
    sizes = [f"{key} {own[key]}" for key in own if key not in OTHER]
    return {
        "architecture": own["architecture"], "dims": option(own, "dims"), "options": ", ".join(sizes),
        "crop": "x".join(str(n) for n in shape.size), "weights": weights, "step_s": (ends[-1] - ends[0]) / steps,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--full", action="store_true", help="published widths")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, help="table to write")
    args = parser.parse_args()
    device = choose_device(args.device, "--device")
    prepare(device, 1)
    assert {spec["architecture"] for spec in SMALL} == set(ARCHITECTURES)
    table = pd.DataFrame([measure(own, args.steps, device) for own in (FULL if args.full else SMALL)])
    table["steps_per_s"] = 1 / table["step_s"]
    table["ratio"] = table["step_s"] / table["step_s"].min()
    print(table.round({"step_s": 4, "steps_per_s": 2, "ratio": 1}).to_string(index=False))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    if args.out is not None:
        write_table(table, args.out)


if __name__ == "__main__":
    main()
