"""Heads of a network: which endpoints it learns, by which loss, with which weight. Light: no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hccflow.errors import ConfigError
from hccflow.networks.architectures import ARCHITECTURES

#: The one task that is no endpoint: the mask of the region.
SEGMENTATION = "segmentation"
#: Tasks besides the model's own endpoint where the configuration names none, of a network with a segmentation path.
ALSO = {SEGMENTATION: 0.5}
#: Names that an endpoint of a head may not have: other outputs of a network.
RESERVED = (SEGMENTATION, "features")
#: Losses of each kind of endpoint; the first is the one that is meant when none is named.
LOSSES: Mapping[str, tuple[str, ...]] = {"binary": ("bce",), "survival": ("cox", "discrete")}


@dataclass(frozen=True)
class Head:
    """One endpoint that a network learns.

    Attributes
    ----------
    loss : str
        ``bce``: logit of the probability. ``cox``: log hazard. ``discrete``: logits of the hazards of intervals.
    weight : float
        Weight of the loss; where weights are learnt, the one at the start.
    intervals_days : tuple of float
        ``discrete``: the ends of the intervals, the first of which starts at day 0.
    """

    loss: str
    weight: float
    intervals_days: tuple[float, ...] = ()

    @property
    def logits(self) -> int:
        """Number of outputs."""
        return len(self.intervals_days) or 1

    @property
    def survival(self) -> bool:
        """Whether its score is a risk and not a probability."""
        return self.loss != "bce"


@dataclass(frozen=True)
class Tasks:
    """What a network learns.

    Attributes
    ----------
    heads : mapping
        Heads by endpoint, that of the model's own endpoint first.
    segmentation : float
        Weight of the region's mask as a further task; 0: it is none.
    learnt : bool
        Whether the weights are learnt from here on.
    """

    heads: Mapping[str, Head]
    segmentation: float = 0.0
    learnt: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every task, as configured."""
        mask = {SEGMENTATION: self.segmentation} if self.segmentation > 0 else {}
        return {name: head.weight for name, head in self.heads.items()} | mask

    @property
    def logits(self) -> dict[str, int]:
        """Number of logits of every head."""
        return {name: head.logits for name, head in self.heads.items()}


def given_tasks(model: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks of a network's entry as they are written, or those that are meant when there are none."""
    network = model["network"]
    if network.get("tasks"):
        return dict(network["tasks"])
    return {model["endpoint"]: 1.0, **(ALSO if ARCHITECTURES[network["architecture"]].segments else {})}


def named_tasks(model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tasks of a network's entry with a positive weight, its own endpoint first, each as a mapping."""
    given = given_tasks(model)
    tasks = {name: dict(task) if isinstance(task, Mapping) else {"weight": task} for name, task in given.items()}
    order = sorted(tasks, key=lambda name: name != model["endpoint"])
    return {name: {"weight": 1.0, **tasks[name]} for name in order if tasks[name].get("weight", 1.0) > 0}


def tasks_of(model: Mapping[str, Any], endpoints: Mapping[str, Any]) -> Tasks:
    """What a network of the configuration learns.

    Parameters
    ----------
    model : mapping
        Entry of the configuration, of kind network.
    endpoints : mapping
        The section `endpoints`.
    """
    tasks = named_tasks(model)
    mask = float(tasks.pop(SEGMENTATION, {"weight": 0.0})["weight"])
    heads = {
        name: Head(
            task.get("loss", LOSSES[endpoints[name]["kind"]][0]), float(task["weight"]),
            tuple(float(day) for day in task.get("intervals_days", ())),
        )
        for name, task in tasks.items()
    }  # fmt: skip
    return Tasks(heads, mask, model["network"].get("weighting", "fixed") == "uncertainty")


def check_tasks(model: Mapping[str, Any], endpoints: Mapping[str, Any], where: str) -> None:
    """Refuse tasks that teach nothing, are unknown, or do not fit their endpoint.

    Raises
    ------
    ConfigError
        One sentence.
    """
    where, tasks = f"{where}.network.tasks", named_tasks(model)
    if model["endpoint"] not in tasks:
        raise ConfigError(
            "the network does not learn its endpoint", where=where,
            expected=f"a positive weight of {model['endpoint']}", found=", ".join(tasks),
        )  # fmt: skip
    for name, task in tasks.items():
        here = f"{where}.{name}"
        if name == SEGMENTATION:
            if set(task) != {"weight"}:
                raise ConfigError("segmentation has a weight only", where=here, found=", ".join(task))
            continue
        if name not in endpoints:
            near = difflib.get_close_matches(name, [*endpoints, SEGMENTATION], n=1)
            raise ConfigError(
                f"unknown task '{name}'", where=where, expected=", ".join([*endpoints, SEGMENTATION]),
                todo=f"did you mean '{near[0]}'?" if near else "name an endpoint, or segmentation",
            )  # fmt: skip
        _check_loss(task, endpoints[name], here)
    for name in set(tasks) & set(endpoints) & set(RESERVED):
        raise ConfigError("an endpoint of a network may not have this name", where=where, found=name)


def _check_loss(task: Mapping[str, Any], endpoint: Mapping[str, Any], where: str) -> None:
    fitting = LOSSES[endpoint["kind"]]
    loss, cuts = task.get("loss", fitting[0]), list(task.get("intervals_days", ()))
    if loss not in fitting:
        raise ConfigError(
            f"the loss does not fit a {endpoint['kind']} endpoint", where=where, expected=" or ".join(fitting),
            found=loss,
        )  # fmt: skip
    if (loss == "discrete") != bool(cuts):
        raise ConfigError(
            "intervals_days belong to the loss discrete, which needs them", where=where,
            expected="for example {loss: discrete, intervals_days: [365, 730, 1095]}", found=dict(task),
        )  # fmt: skip
    if cuts != sorted(set(cuts)) or (cuts and cuts[0] <= 0) or len(cuts) == 1:
        raise ConfigError("intervals end on rising days after 0, two at least", where=where, found=cuts)
    if "entry" in endpoint:
        raise ConfigError(
            "a network cannot learn an endpoint with delayed entry", where=where, expected="an endpoint without entry",
            todo="use an endpoint that is counted from the index date",
        )  # fmt: skip
