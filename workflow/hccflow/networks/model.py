"""The network model: clinical preparation, intensity scaling and one network per seed; fitted on one fold."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from hccflow.errors import FreezeError, TableError
from hccflow.models.encoding import KEYS, Encoding
from hccflow.models.fold import Fold
from hccflow.models.preparation import Preparation, prepare
from hccflow.networks.crops import Crops, Scaling, learn_scaling, no_crops, read_crops, view
from hccflow.networks.device import choose_device, on_device
from hccflow.networks.heads import SEGMENTATION, Head, Tasks, named_tasks
from hccflow.networks.loop import Rows, Trained, outputs_of, train_network
from hccflow.networks.pretrained import origin
from hccflow.networks.registry import Shape, build
from hccflow.networks.risk import Level, RiskScale, Scale, learn_level, learn_risk_scale, score_of
from hccflow.networks.state import load_weights, read_tensors, write_tensors
from hccflow.tables import write_text

log = logging.getLogger(__name__)
FORMAT = 4


@dataclass(frozen=True)
class NetworkModel:
    """A fitted ensemble: one network per seed, whose scores are averaged.

    Attributes
    ----------
    spec : mapping
        Entry ``network`` of the configuration.
    heads : mapping
        Heads by endpoint, that of the model's own endpoint first.
    shape : Shape
    encoding, preparation
        Clinical variables; `preparation` is None when there are none.
    scaling : Scaling
        Of the image channels.
    networks : tuple of torch.nn.Module
    scales : tuple of mapping
        Of each network the scale of its Cox heads and the level of its binary ones, by endpoint.
    """

    spec: Mapping[str, Any]
    heads: Mapping[str, Head]
    shape: Shape
    encoding: Encoding
    preparation: Preparation | None
    scaling: Scaling
    networks: tuple[nn.Module, ...]
    scales: tuple[Mapping[str, Scale], ...]

    @property
    def head(self) -> str:
        """Head of the model's own endpoint, the first one."""
        return next(iter(self.heads))

    @property
    def segments(self) -> bool:
        """Whether it has learnt the region's mask (a segmentation path alone is no task)."""
        return SEGMENTATION in named_tasks({"endpoint": self.head, "network": self.spec})

    @property
    def selected(self) -> list[str]:
        """Predictors that it uses: the crop, and clinical ones."""
        return [f"crop {self.spec['crop']}", *(self.preparation.names if self.preparation is not None else [])]

    @property
    def device(self) -> torch.device:
        """Where its networks lie and score: where they were trained; on the CPU once they are opened from files."""
        return next(self.networks[0].parameters()).device

    def rows(self, x: pd.DataFrame, crops: Crops) -> Rows:
        """Inputs of encoded rows (indexed by rows of the crops)."""
        clinical = self.preparation.apply(x).to_numpy(np.float32) if self.preparation is not None else None
        return make_rows(x, crops, self.scaling, clinical, {})

    def outputs(self, rows: Rows) -> list[dict[str, np.ndarray]]:
        """Scores of every head (`hccflow.networks.risk.score_of`), and ``features``, of each seed's network."""
        rows, found = rows.to(self.device), []
        for network, scales in zip(self.networks, self.scales, strict=True):
            out = outputs_of(network, rows, self.spec["batch_size"])
            scores = {name: score_of(head, out[name], scales.get(name)) for name, head in self.heads.items()}
            found.append({**scores, "features": out["features"].cpu().numpy()})
        return found

    def score(self, x: pd.DataFrame, crops: Crops) -> dict[str, np.ndarray]:
        """Scores of encoded rows by endpoint: the mean over seeds."""
        return self.scores(self.outputs(self.rows(x, crops)))[0]

    def scores(
        self, outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
        """Mean over seeds of the scores of every head, and their mean SD between seeds (None of no row)."""
        each = {name: np.stack([out[name] for out in outputs]) for name in self.heads}
        spread = {n: round(float(v.std(axis=0).mean()), 6) if v.size else None for n, v in each.items()}
        return {name: values.mean(axis=0) for name, values in each.items()}, spread

    def predict_all(
        self, subjects: pd.DataFrame, features: pd.DataFrame | None
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Scores of rows of tables by endpoint, NaN with a reason for rows that have no crop that it takes.

        `features` is the table of crops (`hccflow.networks.croptable.crop_table`).
        """
        x, crops = self.inputs(subjects, features)
        usable = crops.present
        scores = {name: np.full(len(subjects), np.nan) for name in self.heads}
        if usable.any():
            for name, values in self.score(x[usable], crops).items():
                scores[name][usable] = values
        return scores, list(crops.reasons)

    def predict(self, subjects: pd.DataFrame, features: pd.DataFrame | None) -> tuple[np.ndarray, list[str]]:
        """Scores of rows for the model's own endpoint; see `predict_all`."""
        scores, reasons = self.predict_all(subjects, features)
        return scores[self.head], reasons

    def inputs(self, subjects: pd.DataFrame, crops: pd.DataFrame | None) -> tuple[pd.DataFrame, Crops]:
        """Encoded clinical variables and crops of rows of tables, indexed from 0."""
        if crops is None:
            raise TableError("the model needs crops", where="--crops", expected=f"crop-{self.spec['crop']}")
        subjects, shape = subjects.reset_index(drop=True), (self.shape.channels, *self.shape.size[::-1])
        if subjects[KEYS].merge(crops[KEYS]).empty:
            found = no_crops(len(subjects), shape)
        else:
            found = view(read_crops(subjects, crops), self.spec)
        if found.images.shape[1:] != shape:
            raise TableError(
                "crops do not fit the network", where="--crops", expected=self.shape,
                found=tuple(found.images.shape[1:]),
            )  # fmt: skip
        return self.encoding.encode(subjects, None)[0], found

    def _recorded(self) -> dict[str, Any]:
        """Entry of the configuration without the place of a file on this machine."""
        return {**self.spec, "pretrained": origin(self.spec)} if self.spec.get("pretrained") else dict(self.spec)

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and one ``seed-<n>.safetensors`` per network."""
        data = {
            "format": FORMAT, "kind": "network", "network": self._recorded(), "encoding": self.encoding.to_json(),
            "shape": asdict(self.shape), "heads": {name: asdict(head) for name, head in self.heads.items()},
            "preparation": self.preparation.to_json() if self.preparation is not None else None,
            "scaling": {"mean": self.scaling.mean, "sd": self.scaling.sd}, "seeds": len(self.networks),
            "scales": [{name: asdict(scale) for name, scale in scales.items()} for scales in self.scales],
        }  # fmt: skip
        for number, network in enumerate(self.networks):
            write_tensors(network.state_dict(), folder / f"seed-{number}.safetensors")
        write_text(folder / "model.json", json.dumps(data, indent=1, allow_nan=False) + "\n")


def load_network(folder: Path) -> NetworkModel:
    """Open an ensemble on the CPU, whatever it was trained on; nothing in its files is run.

    Scoring takes seconds: so it needs no GPU, and a frozen model's scores do not depend on whether there is one.

    Raises
    ------
    FreezeError
        A file is not there, not whole, or of another network.
    """
    path = folder / "model.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != FORMAT or data.get("kind") != "network":
        raise FreezeError("not a network of this version", where=path, expected=f"format {FORMAT}", todo="train again")
    spec, encoding = data["network"], Encoding(tuple(data["encoding"]["clinical"]), ())
    shape = Shape(**{**data["shape"], "size": tuple(data["shape"]["size"])})
    networks = []
    for number in range(data["seeds"]):
        network = on_device(build(shape, spec), torch.device("cpu"))
        file = folder / f"seed-{number}.safetensors"
        load_weights(network, read_tensors(file), where=file)
        networks.append(network.eval())
    preparation = Preparation.from_json(data["preparation"]) if data["preparation"] is not None else None
    scaling = Scaling(tuple(data["scaling"]["mean"]), tuple(data["scaling"]["sd"]))
    heads = {name: Head(**{**h, "intervals_days": tuple(h["intervals_days"])}) for name, h in data["heads"].items()}
    scales = tuple({name: _scale(about) for name, about in one.items()} for one in data["scales"])
    return NetworkModel(spec, heads, shape, encoding, preparation, scaling, tuple(networks), scales)


def make_rows(
    x: pd.DataFrame, crops: Crops, scaling: Scaling, clinical: np.ndarray | None, labels: Mapping[str, np.ndarray]
) -> Rows:
    """Gather what a network needs of rows; `x` is indexed by rows of the crops."""
    places = torch.as_tensor(x.index.to_numpy(np.int64))
    prepared = np.zeros((len(x), 0), dtype=np.float32) if clinical is None else clinical
    return Rows(
        scaling.apply(crops.images[places]), crops.masks[places], torch.from_numpy(prepared),
        {name: torch.tensor(values, dtype=torch.float32) for name, values in labels.items()},
    )  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """A model and how its networks were trained: best epoch of each seed, and every epoch's losses."""

    model: NetworkModel
    best_epochs: list[int]
    history: pd.DataFrame


def fit_network(
    fold: Fold,
    spec: Mapping[str, Any],
    tasks: Tasks,
    encoding: Encoding,
    crops: Crops,
    *,
    epochs: int | None = None,
    work: Path | None = None,
) -> Fitted:
    """Fit preparation, scaling and one network per seed on the rows of a fold.

    Without `epochs` each seed leaves out one part of an inner stratified split of the fold's own subjects, which
    decides when to stop; the table of fits says who taught and who stopped.

    Parameters
    ----------
    fold : Fold
        Training rows, encoded, indexed by rows of `crops`.
    spec : mapping
        Entry ``network`` of the configuration.
    tasks : Tasks
        What the networks learn.
    encoding : Encoding
        Clinical predictors; may have none.
    crops : Crops
    epochs : int, optional
        Train on all rows for so many epochs (the final fit).
    work : Path, optional
        Folder for checkpoints, of this fold and these settings alone.
    """
    device = choose_device(spec["device"])
    preparation, prepared = prepare(fold, {}) if encoding.names else (None, fold)
    scaling = fold.fit("intensity", learn_scaling, crops)
    clinical = prepared.x.to_numpy(np.float32) if preparation is not None else None
    size = crops.images.shape[1:]
    shape = Shape(size[0], tuple(size[:0:-1]), len(preparation.names) if preparation is not None else 0, tasks.logits)
    labels = {name: fold.targets[name].array() for name in tasks.heads}
    rows = make_rows(fold.x, crops, scaling, clinical, labels)
    networks, scales, best, history = [], [], [], []
    for number in range(spec["seeds"]):
        seed = int(np.random.SeedSequence((*fold.path, 7, number)).generate_state(1)[0])
        held = _stopping_rows(fold, number) if epochs is None else np.zeros(len(rows), dtype=bool)
        checkpoint = work / f"seed-{number}.safetensors" if work is not None else None
        trained = train_network(
            shape, spec, tasks, rows.take(np.flatnonzero(~held)),
            rows.take(np.flatnonzero(held)) if held.any() else None, seed=seed, device=device, epochs=epochs,
            checkpoint=checkpoint, where=f"{fold.where}, seed {number}",
        )  # fmt: skip
        _record(fold, number, held, trained)
        networks.append(trained.network)
        scales.append(_learn_scales(fold, tasks, trained.network, rows.to(device), number, spec["batch_size"]))
        best.append(trained.best_epoch)
        history.append(pd.DataFrame(trained.history).assign(seed=number))
        log.info("%s, seed %d: best epoch %d", fold.where, number, trained.best_epoch)
    model = NetworkModel(spec, tasks.heads, shape, encoding, preparation, scaling, tuple(networks), tuple(scales))
    return Fitted(model, best, pd.concat(history, ignore_index=True))


def _learn_scales(fold: Fold, tasks: Tasks, network: nn.Module, rows: Rows, number: int, size: int) -> dict[str, Scale]:
    """Scale of every Cox head and level of every binary head of a trained network, from the rows of its fold."""
    out = outputs_of(network, rows, size)
    scales: dict[str, Scale] = {}
    for name, head in tasks.heads.items():
        if head.loss == "cox":
            risks = score_of(head, out[name])
            scales[name] = fold.fit(f"network.{number}.risk.{name}", learn_risk_scale, risks)
        elif head.loss == "bce":
            logits = out[name].double().cpu().numpy()[fold.targets[name].known]
            scales[name] = fold.known(name).fit(f"network.{number}.level.{name}", learn_level, logits)
    return scales


def _scale(about: Mapping[str, float]) -> Scale:
    return Level(**about) if "shift" in about else RiskScale(**about)


def _stopping_rows(fold: Fold, number: int) -> np.ndarray:
    """Rows of the inner part that decides when the network of a seed stops."""
    parts = [held.index for _, held, _ in fold.inner("stop")]
    return fold.x.index.isin(parts[number % len(parts)])


def _record(fold: Fold, number: int, held: np.ndarray, trained: Trained) -> None:
    """Write down who taught a network and who decided when it stops, and how many knew each endpoint."""
    for step, take in ((f"network.{number}", ~held), (f"network.{number}.stop", held)):
        if take.any():
            part = fold.part(take)
            known = ", ".join(f"{name} {int(target.known.sum())}" for name, target in part.targets.items())
            part.record(step, f"epoch {trained.best_epoch} of {len(trained.history)}; {known}")
